// Daymill rolls an application's raw events up into exact daily metrics per entity, beside the application, on the
// Postgres the application already has. Each verb has a file of its own here.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // The machine may have no tz database: slim containers often do not.

	"github.com/daymill/daymill/internal/memory"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks a verb to stop. The second ends the process, as it does where nobody catches it.
	context.AfterFunc(ctx, stop)
	memory.Heed()
	code := execute(ctx, &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}, os.Args[1:])
	stop()
	os.Exit(code)
}
