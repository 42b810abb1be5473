package filter_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/change"
	"github.com/daymill/daymill/internal/capture/filter"
)

func order() change.Change {
	return change.Change{
		Position: 7, Stream: "app", Op: change.Update, Schema: "public", Table: "orders", Key: json.RawMessage(`{"id": 9007199254740993}`),
		New:       json.RawMessage(`{"id": 9007199254740993, "status": "paid", "total": 12345678901234567890.10, "card": "4111", "tags": ["a"], "none": null}`),
		Unchanged: []string{"body", "card_scan"},
	}
}

func TestPattern(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		"public.orders": "public.orders", "public": "public.orders public.order_items public.Orders", "public.*": "public.orders public.order_items public.Orders",
		"public.order_*": "public.order_items", "*": "public.orders public.order_items public.Orders crm.orders a.b.c", "*.orders": "public.orders crm.orders",
		"public.o*r*s": "public.orders public.order_items", `public."Orders"`: "public.Orders", `"a.b".c`: "a.b.c", `public."order*"`: "", "public.ORDERS": "",
		"!public": "crm.orders a.b.c",
	} {
		tables, err := filter.ParseTables([]string{pattern})
		require.NoError(t, err, pattern)
		var matched []string
		for _, table := range [][2]string{{"public", "orders"}, {"public", "order_items"}, {"public", "Orders"}, {"crm", "orders"}, {"a.b", "c"}} {
			if tables.Match(table[0], table[1]) {
				matched = append(matched, table[0]+"."+table[1])
			}
		}
		require.Equal(t, want, strings.Join(matched, " "), pattern)
	}
	tables, err := filter.ParseTables([]string{"public", "!public.order_*"})
	require.NoError(t, err)
	require.True(t, tables.Match("public", "orders"))
	require.False(t, tables.Match("public", "order_items"))
	for _, wrong := range []string{"", "!", ".", "a.", ".b", "a.b.c", `"a`, `""`, `"a"b`, "a b", "a;b", "a'b", `a."b`, `a."b"c`} {
		_, err := filter.ParsePattern(wrong)
		require.ErrorIs(t, err, filter.ErrPattern, wrong)
	}
}

func TestFilter_Apply(t *testing.T) {
	t.Parallel()
	for condition, want := range map[string]bool{
		`new.status == "paid"`: true, `new.total > 100 && op != "delete"`: true, `new.status in ["new", "sent"]`: false, `old?.status != new.status`: true,
		`new.none == nil`: true, `key.id == 9007199254740993`: true, `key.id == 9007199254740992`: false, `new.status matches "^p"`: true,
		`new.status startsWith "p" and table == "orders"`: true, `new.nothing == nil`: true, `lower(new.status) == "paid" ? snapshot : true`: false,
	} {
		f, err := filter.New(filter.Config{Condition: condition})
		require.NoError(t, err, condition)
		_, passes, err := f.Apply(order())
		require.NoError(t, err, condition)
		require.Equal(t, want, passes, condition)
	}
	f, err := filter.New(filter.Config{Condition: `old.status == "a"`})
	require.NoError(t, err)
	_, passes, err := f.Apply(order())
	if err == nil { // A condition on a missing row is false or an error; it never passes.
		require.False(t, passes)
	}
	for _, condition := range []string{`new.status > 5`, `new.tags.x == 1`} {
		f, err := filter.New(filter.Config{Condition: condition})
		require.NoError(t, err)
		_, passes, err := f.Apply(order())
		require.ErrorIs(t, err, filter.ErrCondition)
		require.False(t, passes)
	}
}

func TestFilter_Ops(t *testing.T) {
	t.Parallel()
	f, err := filter.New(filter.Config{Tables: []string{"public.orders"}, Ops: []change.Op{change.Insert, change.Delete}})
	require.NoError(t, err)
	_, passes, err := f.Apply(order())
	require.NoError(t, err)
	require.False(t, passes)
	c := order()
	c.Op = change.Insert
	_, passes, err = f.Apply(c)
	require.NoError(t, err)
	require.True(t, passes)
}

// TestFilter_Tables: changes of tables that no pattern matches, or that one excludes, do not pass.
func TestFilter_Tables(t *testing.T) {
	t.Parallel()
	f, err := filter.New(filter.Config{Tables: []string{"public", "!public.secret"}})
	require.NoError(t, err)
	for _, test := range []struct {
		schema, table string
		want          bool
	}{{"public", "orders", true}, {"public", "secret", false}, {"crm", "orders", false}} {
		c := order()
		c.Schema, c.Table = test.schema, test.table
		_, passes, err := f.Apply(c)
		require.NoError(t, err)
		require.Equal(t, test.want, passes, "%v", test)
		require.Equal(t, test.want, f.Takes(test.schema, test.table), "%v", test)
	}
}

// TestFilter_Shape: columns that are left out appear nowhere in the change, numbers keep all digits, and the key stays.
func TestFilter_Shape(t *testing.T) {
	t.Parallel()
	c := order()
	c.Old = json.RawMessage(`{"id": 9007199254740993, "card": "4000", "status": "new"}`)
	f, err := filter.New(filter.Config{Without: []string{"card", "card_scan", "tags", "id"}, Rename: map[string]string{"id": "order <id>", "body": "text"}})
	require.NoError(t, err)
	shaped, passes, err := f.Apply(c)
	require.NoError(t, err)
	require.True(t, passes)
	require.JSONEq(t, `{"order <id>": 9007199254740993}`, string(shaped.Key))
	require.JSONEq(t, `{"order <id>": 9007199254740993, "status": "new"}`, string(shaped.Old))
	require.Contains(t, string(shaped.New), "12345678901234567890.10")
	require.NotContains(t, string(shaped.New)+string(shaped.Old), "card")
	require.Equal(t, []string{"text"}, shaped.Unchanged)
	require.Contains(t, string(c.New), "4111") // The change in the log is not modified.

	f, err = filter.New(filter.Config{Columns: []string{"status"}})
	require.NoError(t, err)
	shaped, _, err = f.Apply(c)
	require.NoError(t, err)
	require.JSONEq(t, `{"id": 9007199254740993, "status": "paid"}`, string(shaped.New))
	require.Empty(t, shaped.Unchanged)
}

// TestNew_Hostile: conditions that run for a long time, that use much memory for a short text, or that reach the outside are refused.
func TestNew_Hostile(t *testing.T) {
	t.Parallel()
	for _, condition := range []string{
		"1", "new.", "os.Exit(1)", `repeat("x", 1000000000) == ""`, "all(1..100000, all(1..100000, true))", "count(1..1000000, true) > 0",
		"len(1..100000000) > 0", `now().Year() > 1`, "let a = 1..1000; all(a, all(a, all(a, true)))", "any(new.tags, true)", `new | keys() | len() > 0`,
		`toJSON(new) == ""`, `fromBase64("") == ""`, "map(new.tags, #) == []", `env["x"] == 1 and get($env, "y")`, "sort(new.tags) == []",
		strings.Repeat("(", 3000) + "true" + strings.Repeat(")", 3000), strings.Repeat("true and ", 1000) + "true", strings.Repeat("x", filter.MaxCondition+1),
	} {
		f, err := filter.New(filter.Config{Condition: condition})
		if err == nil {
			var passes bool
			_, passes, err = f.Apply(order())
			require.False(t, passes, condition)
		}
		require.Error(t, err, condition)
	}
	for _, config := range []filter.Config{
		{Ops: []change.Op{"drop"}},
		{Columns: []string{"a"}, Without: []string{"b"}},
		{Rename: map[string]string{"a": "c", "b": "c"}},
		{Rename: map[string]string{"a": ""}},
		{Tables: []string{"a.b.c"}},
	} {
		_, err := filter.New(config)
		require.Error(t, err)
	}
}
