package view

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/daymill/daymill/internal/db"
	"github.com/daymill/daymill/internal/postgres"
	"github.com/daymill/daymill/internal/view/definition"
)

// Databases opens databases by their names. URLs are in environment variables, and never stored or shown.
type Databases struct {
	DB     *postgres.DB // the target
	URL    string       // of DB
	Lookup func(name string) (string, bool)
	// Variables are the environment variables of databases, each as $NAME, by the names of the databases. Databases that were applied
	// before are known without it.
	Variables map[string]string

	mu   sync.Mutex
	open map[string]*postgres.DB
}

// Open returns a database, and whether it is the target.
func (d *Databases) Open(ctx context.Context, name string) (opened *postgres.DB, target bool, err error) {
	if name == definition.App {
		return d.DB, true, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	variable, err := d.Variable(ctx, name)
	if err != nil {
		return nil, false, err
	}
	url, set := d.Lookup(strings.TrimPrefix(variable, "$"))
	if !set || url == "" {
		return nil, false, fmt.Errorf("the environment variable %s of database %s is not set: set it to the database's URL", variable, name)
	}
	if same(url, d.URL) {
		return d.DB, true, nil
	}
	if opened, has := d.open[name]; has {
		return opened, false, nil
	}
	opened, err = postgres.Open(ctx, postgres.Config{URL: url, ApplicationName: "daymill view", PoolSize: 2})
	if err != nil {
		return nil, false, fmt.Errorf("database %s (see %s): %w", name, variable, err)
	}
	if d.open == nil {
		d.open = map[string]*postgres.DB{}
	}
	d.open[name] = opened
	return opened, false, nil
}

// Variable returns the environment variable with the URL of a database, as $NAME.
func (d *Databases) Variable(ctx context.Context, name string) (string, error) {
	if variable, has := d.Variables[name]; has {
		return variable, nil
	}
	rows, err := db.New(d.DB).ViewDatabaseList(ctx)
	if err != nil {
		return "", fmt.Errorf("list databases: %w", err)
	}
	names := []string{definition.App}
	for _, row := range rows {
		if row.Name == name {
			return row.Variable, nil
		}
		names = append(names, row.Name)
	}
	for other := range d.Variables {
		if other != definition.App {
			names = append(names, other)
		}
	}
	return "", fmt.Errorf("there is no database %q, only %s: add it to databases in daymill.yaml, as {%s: $%s_URL}",
		name, strings.Join(names, ", "), name, strings.ToUpper(strings.ReplaceAll(name, "-", "_")))
}

// Names returns the names of all databases, app first.
func (d *Databases) Names(ctx context.Context) ([]string, error) {
	rows, err := db.New(d.DB).ViewDatabaseList(ctx)
	if err != nil {
		return nil, fmt.Errorf("list databases: %w", err)
	}
	var names []string
	for name := range d.Variables {
		names = append(names, name)
	}
	for _, row := range rows {
		names = append(names, row.Name)
	}
	slices.Sort(names)
	names = slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == definition.App })
	return append([]string{definition.App}, names...), nil
}

// Close closes the databases that were opened.
func (d *Databases) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, opened := range d.open {
		opened.Close()
	}
	d.open = nil
}

// same reports whether two URLs lead to the same database.
func same(url, other string) bool {
	a, errA := postgres.ParseURL(url)
	b, errB := postgres.ParseURL(other)
	return errA == nil && errB == nil && a.Host == b.Host && a.Port == b.Port && a.Database == b.Database
}
