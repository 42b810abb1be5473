// Package redis is a sink that updates keys in Redis when rows change: it deletes cached keys, writes rows as strings or hashes, or
// appends changes to a stream. Scripts, which Redis runs atomically, compare positions, so that an older change never overwrites a newer one.
package redis

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/sink"
	"github.com/daymill/daymill/internal/capture/template"
)

// ErrConfig says that the configuration of a Redis sink cannot be used.
var ErrConfig = errors.New("the Redis sink cannot be used")

// DefaultTombstones is how long the position of a deleted row is kept.
const DefaultTombstones = 24 * time.Hour

// Config configures the sink. URL and one or more of Delete, Set, Hash and Stream are required.
type Config struct {
	URL string // redis://user:password@host:6379/0, or rediss:// for TLS
	// Delete are the keys to delete on each change, made from the old row and from the new one.
	Delete []*template.Template
	// Set is the key that stores the row as JSON, Hash the key that stores it as a hash of its columns.
	Set, Hash *template.Template
	// Stream is the stream to append changes to.
	Stream *template.Template
	// MaxLen is the approximate maximum length of the stream; no limit if 0.
	MaxLen int64
	// Tombstones is how long the position of a deleted row is kept; DefaultTombstones if 0.
	Tombstones time.Duration
}

// Redis writes to a Redis.
type Redis struct {
	config Config
	client *redis.Client
}

// Open checks the configuration. It does not connect.
func Open(config Config) (*Redis, error) {
	options, err := redis.ParseURL(config.URL)
	if err != nil {
		return nil, fmt.Errorf("%w: write its URL as redis://user:password@host:6379/0", ErrConfig)
	}
	if len(config.Delete) == 0 && config.Set == nil && config.Hash == nil && config.Stream == nil {
		return nil, fmt.Errorf("%w: say what to do with delete, set, hash or stream", ErrConfig)
	}
	config.Tombstones = cmp.Or(config.Tombstones, DefaultTombstones)
	options.MaxRetries = -1 // The caller delivers the batch again.
	options.DialerRetries = 1
	options.ContextTimeoutEnabled = true
	options.ClientName = "daymill"
	quiet.Do(func() { redis.SetLogger(silence{}) })
	return &Redis{config: config, client: redis.NewClient(options)}, nil
}

// silence is a logger for go-redis that writes nothing, because go-redis also returns its errors.
type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

//nolint:gochecknoglobals // go-redis has one logger for the process.
var quiet sync.Once

// Close closes the connections.
func (r *Redis) Close() error { return r.client.Close() }

// script is a script for Redis. It has its hash, which redis.Script forgets if it is loaded in a pipeline.
type script struct{ source, hash string }

func newScript(source string) *script {
	return &script{source: source, hash: redis.NewScript(source).Hash()}
}

// once is the beginning of scripts that take a key and the key of its position. The script does nothing if the position is after ARGV[1].
const once = `
local at = redis.call('GET', KEYS[2])
if at and tonumber(at) > tonumber(ARGV[1]) then return 0 end
`

// remember stores the position of an existing row, and forget stores that of a deleted row for a while.
const (
	remember = `redis.call('SET', KEYS[2], ARGV[1]) return 1`
	forget   = `redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2]) return 1`
)

//nolint:gochecknoglobals // Constants.
var (
	setScript    = newScript(once + `redis.call('SET', KEYS[1], ARGV[2]) ` + remember)
	deleteScript = newScript(once + `redis.call('DEL', KEYS[1]) ` + forget)
	// ARGV: position, number of fields to remove, their names, then names and values of fields to set.
	hashScript = newScript(once + `
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then return redis.error_reply('WRONGTYPE the key holds a ' .. kind) end
local gone = tonumber(ARGV[2])
for i = 3, 2 + gone do redis.call('HDEL', KEYS[1], ARGV[i]) end
for i = 3 + gone, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
` + remember)
	// The id is the position. A change that comes after one with a greater position, because it was replayed, gets the next free id,
	// unless the stream already has the change.
	streamScript = newScript(`
local id = ARGV[1] .. '-0'
local add = {'XADD', KEYS[1]}
if ARGV[2] ~= '0' then add[3], add[4], add[5] = 'MAXLEN', '~', ARGV[2] end
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'stream' and kind ~= 'none' then return redis.error_reply('WRONGTYPE the key holds a ' .. kind) end
if kind == 'stream' then
  if #redis.call('XRANGE', KEYS[1], id, id) > 0 then return 0 end
  local info, last = redis.call('XINFO', 'STREAM', KEYS[1]), nil
  for i = 1, #info, 2 do if info[i] == 'last-generated-id' then last = info[i + 1] end end
  local ms, seq = string.match(last, '(%d+)-(%d+)')
  if tonumber(ms) >= tonumber(ARGV[1]) then id = ms .. '-' .. string.format('%d', tonumber(seq) + 1) end
end
for _, word in ipairs({id, 'id', ARGV[3], 'event', ARGV[4]}) do add[#add + 1] = word end
redis.call(unpack(add))
return 1
`)
)

// positionKey returns the key that stores the position of a key. Both are in the same slot of a cluster.
func positionKey(key string) string {
	if _, after, ok := strings.Cut(key, "{"); ok {
		if end := strings.IndexByte(after, '}'); end > 0 {
			return key + ":daymill-position"
		}
	}
	if strings.ContainsAny(key, "{}") { // A hash tag cannot contain braces.
		return key + ":daymill-position"
	}
	return "{" + key + "}:daymill-position"
}

// command is a script to run or, if script is nil, keys to delete.
type command struct {
	index     int
	script    *script
	keys      []string
	arguments []any
}

// Sweeps reports whether a sweep is delivered: a stream receives it as an entry. Which keys of other structures belong to deleted rows is
// not known.
func (r *Redis) Sweeps() bool { return r.config.Stream != nil }

// Deliver writes changes.
func (r *Redis) Deliver(ctx context.Context, changes []change.Change) ([]sink.Refusal, error) {
	var parked sink.Parked
	var commands []command
	for i, c := range changes {
		if parked.Behind(i, c) {
			continue
		}
		if len(c.Unchanged) > 0 && r.config.Set != nil {
			// The stored value has to be complete, so first send the changes before this one.
			if err := r.run(ctx, changes, commands, &parked); err != nil {
				return nil, err
			}
			commands = commands[:0]
			var err error
			if c, err = r.complete(ctx, c); err != nil {
				return nil, err
			}
		}
		more, err := r.plan(i, c)
		if err != nil {
			parked.Refuse(i, c, err.Error(), "")
			continue
		}
		commands = append(commands, more...)
	}
	if err := r.run(ctx, changes, commands, &parked); err != nil {
		return nil, err
	}
	return parked.Refusals(), nil
}

var errTruncate = errors.New("the table was truncated, and which keys to delete is not known: delete them by hand, and discard this letter")

// plan returns the commands for a change.
func (r *Redis) plan(index int, c change.Change) ([]command, error) {
	data, err := template.Data(c)
	if err != nil {
		return nil, err
	}
	var commands []command
	if r.config.Stream != nil {
		key, err := r.config.Stream.Render(data)
		if err != nil {
			return nil, fmt.Errorf("stream: %w", err)
		}
		document, err := sink.Document(c)
		if err != nil {
			return nil, err
		}
		commands = append(commands, command{
			index: index, script: streamScript, keys: []string{key}, arguments: []any{c.Position, r.config.MaxLen, sink.ID(c), document},
		})
	}
	if c.Op == change.Sweep {
		return commands, nil
	}
	if c.Op == change.Truncate {
		if len(r.config.Delete) > 0 || r.config.Set != nil || r.config.Hash != nil {
			return nil, errTruncate
		}
		return commands, nil
	}
	if len(r.config.Delete) > 0 {
		keys, err := r.deleted(c, data)
		if err != nil {
			return nil, err
		}
		commands = append(commands, command{index: index, keys: keys})
	}
	for _, kept := range []struct {
		key  *template.Template
		name string
		hash bool
	}{{r.config.Set, "set", false}, {r.config.Hash, "hash", true}} {
		if kept.key == nil {
			continue
		}
		more, err := r.kept(index, c, data, kept.key, kept.hash)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kept.name, err)
		}
		commands = append(commands, more)
	}
	return commands, nil
}

// deleted returns the keys to delete: those of the old row, as far as it is known, and those of the new row.
func (r *Redis) deleted(c change.Change, data map[string]any) ([]string, error) {
	was := maps.Clone(data)
	was["new"] = data["old"]
	var keys []string
	for _, name := range r.config.Delete {
		key, err := name.Render(data)
		before, errBefore := name.Render(was)
		switch {
		case c.Op == change.Delete && errBefore != nil:
			return nil, fmt.Errorf("delete: %w: the old row does not have the value: run ALTER TABLE %s REPLICA IDENTITY FULL",
				errBefore, table(c))
		case c.Op == change.Delete:
			key = before
		case err != nil:
			return nil, fmt.Errorf("delete: %w", err)
		case errBefore == nil && before != key:
			keys = append(keys, before)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func table(c change.Change) string { return strconv.Quote(c.Schema) + "." + strconv.Quote(c.Table) }

// kept returns the command that stores a row at a key, or deletes it.
func (r *Redis) kept(index int, c change.Change, data map[string]any, name *template.Template, hash bool) (command, error) {
	if c.Op == change.Delete {
		data = maps.Clone(data)
		data["new"] = data["old"]
	}
	key, err := name.Render(data)
	if err != nil {
		return command{}, err
	}
	made := command{index: index, keys: []string{key, positionKey(key)}, arguments: []any{c.Position}}
	switch {
	case c.Op == change.Delete:
		made.script = deleteScript
		made.arguments = append(made.arguments, int64(max(1, r.config.Tombstones/time.Second)))
	case hash:
		made.script = hashScript
		row, err := sink.Row(c.New)
		if err != nil {
			return command{}, err
		}
		var gone, there []any
		for _, column := range slices.Sorted(maps.Keys(row)) {
			if row[column] == nil {
				gone = append(gone, column)
			} else {
				there = append(there, column, sink.Text(row[column]))
			}
		}
		made.arguments = append(made.arguments, len(gone))
		made.arguments = append(append(made.arguments, gone...), there...)
	default:
		made.script = setScript
		made.arguments = append(made.arguments, []byte(c.New))
	}
	return made, nil
}

// complete adds the values that a change left unchanged. It takes them from the stored value.
func (r *Redis) complete(ctx context.Context, c change.Change) (change.Change, error) {
	data, err := template.Data(c)
	if err != nil {
		return c, nil //nolint:nilerr // plan refuses it.
	}
	key, err := r.config.Set.Render(data)
	if err != nil {
		return c, nil //nolint:nilerr // As above.
	}
	value, err := r.client.Get(ctx, key).Bytes()
	if errors.Is(err, redis.Nil) {
		return c, nil
	}
	if err != nil {
		return c, failure(err)
	}
	var there map[string]json.RawMessage
	if json.Unmarshal(value, &there) != nil {
		return c, nil //nolint:nilerr // The stored value is something else, and is replaced.
	}
	c.New, c.Unchanged, err = sink.Merge(c.New, c.Unchanged, there)
	return c, err
}

// run sends commands as one pipeline, and refuses changes whose keys hold a value of another kind.
func (r *Redis) run(ctx context.Context, changes []change.Change, commands []command, parked *sink.Parked) error {
	if len(commands) == 0 {
		return nil
	}
	pipe := r.client.Pipeline()
	loaded := map[*script]bool{}
	results := make([]redis.Cmder, len(commands))
	for i, c := range commands {
		if c.script == nil {
			results[i] = pipe.Del(ctx, c.keys...)
			continue
		}
		if !loaded[c.script] { // A restart forgets it.
			loaded[c.script] = true
			pipe.ScriptLoad(ctx, c.script.source)
		}
		results[i] = pipe.EvalSha(ctx, c.script.hash, c.keys, c.arguments...)
	}
	_, execErr := pipe.Exec(ctx)
	refused := map[int]bool{}
	for i, result := range results {
		err := result.Err()
		if err == nil {
			continue
		}
		if !strings.HasPrefix(err.Error(), "WRONGTYPE") {
			return failure(err)
		}
		if index := commands[i].index; !refused[index] {
			refused[index] = true
			parked.Refuse(index, changes[index], "one of its keys holds a value of another kind in Redis", sink.Answer([]byte(err.Error())))
		}
	}
	if execErr != nil && len(refused) == 0 {
		return failure(execErr)
	}
	return nil
}

// failure returns an error of Redis without its URL.
func failure(err error) error {
	var network *net.OpError
	switch {
	case errors.As(err, &network):
		return fmt.Errorf("Redis cannot be reached: %w", network.Err)
	case errors.Is(err, io.EOF), errors.Is(err, redis.ErrClosed):
		return errors.New("Redis closed the connection")
	default:
		return fmt.Errorf("the Redis answered: %w", err)
	}
}
