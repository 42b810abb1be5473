// Daymill runs next to an application's Postgres. It rolls up raw events into exact daily metrics per entity, captures changes
// of tables and delivers them, keeps tables equal to a SELECT, and keeps an archive as plain SQL. Each verb has its own file here.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // The machine may have no time zone database: small containers often do not.

	"github.com/daymill/daymill/internal/memory"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks the verb to stop. The second ends the process at once.
	context.AfterFunc(ctx, stop)
	memory.Heed()
	code := execute(ctx, &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}, os.Args[1:])
	stop()
	os.Exit(code)
}
