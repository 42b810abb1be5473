package comparison

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/daymill/daymill/internal/capture/table"
)

func TestKeyObject(t *testing.T) {
	t.Parallel()
	orders := table.Table{Schema: "app", Name: "orders", Key: []string{"shop", "id"}}
	column := func(name string, _ bool) (string, bool) { return "the_" + name, true }
	key, err := keyObject(orders, column, `["a", 7]`)
	require.NoError(t, err)
	require.JSONEq(t, `{"the_shop": "a", "the_id": 7}`, string(key))
	_, err = keyObject(orders, column, `["a"]`)
	require.EqualError(t, err, "read a key: it has 1 values, and the key of app.orders has 2 columns")
	_, err = keyObject(orders, column, `"a"`)
	require.ErrorContains(t, err, "read a key: json: ")
}
