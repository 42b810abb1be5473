package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/daymill/daymill/ui/door"
)

type userCmd struct {
	Hash userHashCmd `cmd:"" help:"Read a password and print the user's line for DAYMILL_USERS."`
}

type userHashCmd struct {
	Name string `arg:"" help:"The user's name, as the audit shows it."`
	Role string `default:"viewer" enum:"viewer,editor,admin" help:"What the user may do: viewer (read), editor (change), admin (also erase metrics)."`
}

// Run prints the user's line. It needs no database.
func (c *userHashCmd) Run(a *app) error {
	password, err := a.readPassword()
	if err != nil {
		return err
	}
	account, err := door.NewAccount(c.Name, door.Role(c.Role), password)
	if err != nil {
		return usageError{err}
	}
	a.printf("%s\n", account.Line())
	return nil
}

// readPassword asks for a password twice on a terminal, and otherwise reads one line.
func (a *app) readPassword() (string, error) {
	terminal, is := a.stdin.(*os.File)
	if !is || !term.IsTerminal(int(terminal.Fd())) {
		line, err := bufio.NewReader(a.stdin).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", usagef("cannot read the password: %w", err)
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	var given [2]string
	for i, prompt := range []string{"Password: ", "Again: "} {
		_, _ = io.WriteString(a.stderr, prompt)
		text, err := term.ReadPassword(int(terminal.Fd()))
		_, _ = io.WriteString(a.stderr, "\n")
		if err != nil {
			return "", usagef("cannot read the password: %w", err)
		}
		given[i] = string(text)
	}
	if given[0] != given[1] {
		return "", usagef("the two passwords differ: try again")
	}
	return given[0], nil
}
