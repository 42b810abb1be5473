package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/daymill/daymill/ui/api"
	"github.com/daymill/daymill/ui/door"
)

type userCmd struct {
	Hash  userHashCmd  `cmd:"" help:"Read a password and print the user's line for DAYMILL_USERS."`
	Token userTokenCmd `cmd:"" help:"Make a token for a program that calls the API, and print it and its line for DAYMILL_USERS."`
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

type userTokenCmd struct {
	Name string   `arg:"" help:"The program's name, as the audit shows it."`
	Role string   `default:"viewer" enum:"viewer,editor,admin" help:"What the program may do: viewer (read), editor (change), admin (also erase metrics)."`
	Only []string `placeholder:"AREA" help:"Areas of the API that the program may call, separated by commas, such as totals for /api/totals. Without this, it may call all."`
}

// Run prints the token and the line. It needs no database.
func (c *userTokenCmd) Run(a *app) error {
	for _, area := range c.Only {
		if areas := api.Areas(); !slices.Contains(areas, area) {
			return usagef("the API has no area %q: it is one of %s", area, strings.Join(areas, ", "))
		}
	}
	account, token, err := door.NewToken(c.Name, door.Role(c.Role), c.Only)
	if err != nil {
		return usageError{err}
	}
	a.printf("Token, which is shown only now: %s\nLine for DAYMILL_USERS: %s\n", token, account.Line())
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
