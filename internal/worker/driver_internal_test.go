package worker

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/driver.txt")

// TestDriver checks the methods of River's driver, which package riverdriver does not consider public. Daymill's driver changes some and
// passes on the rest, so a new or changed method may need a change here: read it, see driver.go, and run the test with -update.
func TestDriver(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for _, of := range []reflect.Type{
		reflect.TypeFor[riverdriver.Driver[pgx.Tx]](), reflect.TypeFor[riverdriver.Executor](), reflect.TypeFor[riverdriver.ExecutorTx](),
	} {
		text.WriteString(of.Name() + "\n")
		for method := range of.Methods() {
			text.WriteString("\t" + method.Name + strings.TrimPrefix(method.Type.String(), "func") + "\n")
		}
	}
	// The fields that pick copies, one by one.
	params := reflect.TypeFor[riverdriver.JobSetStateIfRunningManyParams]()
	text.WriteString(params.Name() + "\n")
	for field := range params.Fields() {
		text.WriteString("\t" + field.Name + " " + field.Type.String() + "\n")
	}
	file := filepath.Join("testdata", "driver.txt")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o750))
		require.NoError(t, os.WriteFile(file, []byte(text.String()), 0o600))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), text.String())
}
