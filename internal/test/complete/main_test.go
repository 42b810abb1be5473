package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	want := []test{{"a", "TestGone"}, {"a", "TestOne"}, {"b", "TestTwo"}}
	ended, err := read(strings.NewReader(`
		{"Action":"start","Package":"a"}
		{"Action":"run","Package":"a","Test":"TestGone"}
		{"Action":"run","Package":"a","Test":"TestOne"}
		{"Action":"pass","Package":"a","Test":"TestOne"}
		{"Action":"pass","Package":"a"}
		{"Action":"skip","Package":"b","Test":"TestTwo/Data"}
		{"Action":"pass","Package":"b","Test":"TestTwo"}
		{"Action":"skip","Package":"c"}`))
	require.NoError(t, err)
	require.Equal(t, []string{"did not run: a TestGone", "skip: b TestTwo/Data"}, judge(want, ended))
	require.Empty(t, judge(want[1:2], map[test]string{{"a", "TestOne"}: "pass"}))
	_, err = read(strings.NewReader("ok a 0.1s"))
	require.ErrorContains(t, err, "read what the tests wrote: ")
}

func TestParse(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a_test.go")
	require.NoError(t, os.WriteFile(path, []byte(`package a
		type bundle struct{}
		func (bundle) TestMethod() {}
		func FuzzOne() {}
		func Test() {}
		func TestMain() {}
		func TestOne() {}
		func Testing() {}`), 0o600))
	names, err := parse(path)
	require.NoError(t, err)
	require.Equal(t, []string{"FuzzOne", "Test", "TestOne"}, names)
}
