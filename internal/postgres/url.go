package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrURL is returned for a wrong database URL. Its wrapper says which part is wrong and what to write. Neither shows the
// URL's values, which may include a password.
var ErrURL = errors.New("the database URL cannot be read")

const urlForm = "write it as postgres://user:password@host:5432/database"

// foreign are parameters of other programs' URLs that mean nothing to Postgres: Prisma's, and those of Node's and Java's
// drivers. Postgres refuses what it does not know, so they are left out.
//
//nolint:gochecknoglobals // A list.
var foreign = []string{
	"schema", "pgbouncer", "pool_timeout", "connection_limit", "socket_timeout", "statement_cache_size", "sslaccept",
	"uselibpqcompat", "prepareThreshold", "currentSchema", "reWriteBatchedInserts", "ssl",
}

func parse(text string) (*pgxpool.Config, error) {
	text = normal(text)
	config, err := pgxpool.ParseConfig(text)
	if scheme, _, has := strings.Cut(text, "://"); err != nil || assignment.MatchString(text) || has && !isURL(text) && !strings.ContainsAny(scheme, "= ") {
		return nil, fmt.Errorf("%w: %s", ErrURL, mistake(text))
	}
	limited(config.ConnConfig)
	return config, nil
}

// ParseURL returns how to connect to a database, for callers that need no pool. It reads the same URLs as Open.
func ParseURL(text string) (*pgx.ConnConfig, error) {
	config, err := parse(text)
	if err != nil {
		return nil, err
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	return config.ConnConfig, nil
}

// Replicate opens a connection for logical replication with the given settings. Its errors are those of Open.
func Replicate(ctx context.Context, url, name string, settings ...string) (*pgconn.PgConn, error) {
	config, err := ParseURL(url)
	if err != nil {
		return nil, err
	}
	config.RuntimeParams["replication"] = "database"
	config.RuntimeParams["application_name"] = name
	for _, setting := range settings {
		config.RuntimeParams["options"] = strings.TrimSpace(config.RuntimeParams["options"] + " -c " + setting)
	}
	conn, err := pgconn.ConnectConfig(ctx, &config.Config)
	if err != nil {
		return nil, connectError(config, err)
	}
	return conn, nil
}

// Connect opens one connection, for what the pool does not do. Its errors are those of Open.
func Connect(ctx context.Context, url, name string) (*pgx.Conn, error) {
	config, err := ParseURL(url)
	if err != nil {
		return nil, err
	}
	config.RuntimeParams["application_name"] = name
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, connectError(config, err)
	}
	return conn, nil
}

// normal removes what copying has added (spaces, line ends, quotes) and other programs' parameters. It replaces no-verify,
// which Node's drivers use, by require.
func normal(text string) string {
	text = strings.TrimSpace(text)
	for _, quote := range []string{`"`, `'`} {
		if inner, quoted := strings.CutPrefix(text, quote); quoted && strings.HasSuffix(inner, quote) {
			text = strings.TrimSpace(strings.TrimSuffix(inner, quote))
		}
	}
	if !isURL(text) {
		return text
	}
	base, query, has := strings.Cut(text, "?")
	if !has {
		return text
	}
	parameters := slices.DeleteFunc(strings.Split(query, "&"), func(parameter string) bool {
		name, value, _ := strings.Cut(parameter, "=")
		return slices.Contains(foreign, name) && (name != "ssl" || value != "true")
	})
	for i, parameter := range parameters {
		if parameter == "sslmode=no-verify" {
			parameters[i] = "sslmode=require"
		}
	}
	return strings.TrimSuffix(base+"?"+strings.Join(parameters, "&"), "?")
}

func isURL(text string) bool {
	return strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://")
}

// mistake says which part of a URL is wrong, and what to write instead.
func mistake(text string) string {
	const encoded = "; in a user, password or database, write : / ? # [ ] @ % and a space as %3A %2F %3F %23 %5B %5D %40 %25 and %20"
	switch scheme, _, has := strings.Cut(text, "://"); {
	case assignment.MatchString(text):
		return "it begins with the name of a variable or a program: " + urlForm
	case strings.HasPrefix(text, "jdbc:"):
		return "it begins with jdbc:, which is for Java: " + urlForm
	case has && !isURL(text) && !strings.ContainsAny(scheme, "= "):
		return "it does not begin with postgres://: " + urlForm
	case !isURL(text) && !strings.Contains(text, "="):
		return urlForm
	case !isURL(text):
		return settingMistake(func(name string) string { return keyword(text, name) })
	}
	parsed, err := url.Parse(text)
	var escape url.EscapeError
	switch {
	case errors.As(err, &escape):
		return "a % in it is not followed by two hexadecimal digits" + encoded
	case err != nil:
		return "its host and port are not as in host:5432, or a character before them is not encoded" + encoded
	}
	if port := parsed.Port(); port != "" && !isPort(port) {
		return "its port is not a number from 1 to 65535" + encoded
	}
	if says := settingMistake(parsed.Query().Get); says != urlForm {
		return says
	}
	return cmp.Or(wrongParameter(text), urlForm)
}

// assignment matches a line of a file of variables, or a command, which were copied with the URL.
var assignment = regexp.MustCompile(`^(?:\w+\s*=|export\s|psql\s).*postgres(?:ql)?://`)

// wrongParameter finds the parameter of a URL without which it can be read, and says so; otherwise it returns "".
func wrongParameter(text string) string {
	base, query, _ := strings.Cut(text, "?")
	parameters := strings.Split(query, "&")
	for i, parameter := range parameters {
		others := slices.Concat(parameters[:i], parameters[i+1:])
		name, _, _ := strings.Cut(parameter, "=")
		if _, err := pgxpool.ParseConfig(base + "?" + strings.Join(others, "&")); err == nil {
			return fmt.Sprintf("its %.40q has a value that does not exist: correct it, or leave it out", name)
		}
	}
	return ""
}

func isPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port > 0
}

// settingMistake looks for a mistake in the settings of a URL or the environment.
func settingMistake(given func(name string) string) string {
	get := func(name, variable string) string { return cmp.Or(given(name), os.Getenv(variable)) }
	modes := []string{"", "disable", "allow", "prefer", "require", "verify-ca", "verify-full"}
	port := get("port", "PGPORT")
	timeout := get("connect_timeout", "PGCONNECT_TIMEOUT")
	switch {
	case !slices.Contains(modes, get("sslmode", "PGSSLMODE")):
		return "its sslmode is none of disable, allow, prefer, require, verify-ca and verify-full"
	case get("service", "PGSERVICE") != "":
		return "its service is not in the service file: add it to ~/.pg_service.conf or to the file that PGSERVICEFILE names, or leave it out"
	case port != "" && !isPort(port):
		return "its port is not a number from 1 to 65535"
	case timeout != "" && !isNumber(timeout):
		return "its connect_timeout is not a number of seconds"
	}
	for _, file := range [][2]string{{"sslrootcert", "PGSSLROOTCERT"}, {"sslcert", "PGSSLCERT"}, {"sslkey", "PGSSLKEY"}} {
		path := get(file[0], file[1])
		if path == "" || path == "system" {
			continue
		}
		if _, err := os.ReadFile(path); err != nil {
			return "the file that its " + file[0] + " names cannot be read: give the path of an existing file, or leave the parameter out"
		}
	}
	switch {
	case get("sslrootcert", "PGSSLROOTCERT") != "":
		return "the file that its sslrootcert names has no certificate in PEM format, or its sslcert and sslkey do not belong together"
	case (get("sslcert", "PGSSLCERT") == "") != (get("sslkey", "PGSSLKEY") == ""):
		return "it has only one of sslcert and sslkey: give both"
	default:
		return urlForm
	}
}

func isNumber(text string) bool {
	_, err := strconv.ParseUint(text, 10, 31)
	return err == nil
}

// keyword returns a setting of a text such as "host=127.0.0.1 port=5432".
func keyword(text, name string) string {
	for field := range strings.FieldsSeq(text) {
		if value, is := strings.CutPrefix(field, name+"="); is {
			return strings.Trim(value, "'")
		}
	}
	return ""
}

// passwordKeyword is the password in a connection string of keywords.
var passwordKeyword = regexp.MustCompile(`\bpassword\s*=\s*('(?:[^'\\]|\\.)*'|\S*)`)

// ForProgram returns a URL for one of Postgres's own programs, and the variables that it needs in its environment. The URL has no password,
// because other users of the machine can see arguments, and none of the parameters that only other programs know.
func ForProgram(text string) (address string, environment []string, err error) {
	config, err := ParseURL(text)
	if err != nil {
		return "", nil, err
	}
	if config.Password != "" {
		environment = []string{"PGPASSWORD=" + config.Password}
	}
	text = normal(text)
	if !isURL(text) {
		return strings.TrimSpace(passwordKeyword.ReplaceAllString(text, "")), environment, nil
	}
	parsed, err := url.Parse(text)
	if err != nil {
		return "", nil, fmt.Errorf("%w: %s", ErrURL, mistake(text))
	}
	if parsed.User != nil {
		parsed.User = url.User(parsed.User.Username())
	}
	query := parsed.Query()
	query.Del("password")
	parsed.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20") // libpq does not read a plus as a space.
	return parsed.String(), environment, nil
}

// Host returns the host and port of a URL, for messages; empty if the URL cannot be parsed.
func Host(text string) string {
	config, err := ParseURL(text)
	if err != nil {
		return ""
	}
	return address(config)
}
