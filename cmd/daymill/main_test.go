package main

import (
	"testing"

	"github.com/daymill/daymill/internal/test/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
