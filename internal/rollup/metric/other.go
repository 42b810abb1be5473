package metric

import (
	"bytes"
	"encoding/json"
	"math"
	"math/big"
	"strconv"
)

// Other parses other_counts as analytics.other_count does. Runs write only whole numbers, but older systems and people may have
// written other values: a value that is not a number counts as 0, a fraction counts without its decimals, and a number that is too
// large counts as the largest possible one. `daymill verify` finds dates with such rows.
func Other(text []byte) map[string]int64 {
	var counts map[string]int64
	if json.Unmarshal(text, &counts) == nil {
		return counts
	}
	var values map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if decoder.Decode(&values) != nil {
		return nil
	}
	counts = make(map[string]int64, len(values))
	for name, value := range values {
		counts[name] = 0
		if number, is := value.(json.Number); is {
			counts[name] = whole(number)
		}
	}
	return counts
}

// whole returns a number without its fraction, or the nearest number that fits.
func whole(number json.Number) int64 {
	if n, err := strconv.ParseInt(number.String(), 10, 64); err == nil {
		return n
	}
	// This precision is enough for every number that fits, and a large exponent needs no memory.
	value, _, err := big.ParseFloat(number.String(), 10, 128, big.ToZero)
	if err != nil {
		if number[0] == '-' {
			return math.MinInt64
		}
		return math.MaxInt64
	}
	n, _ := value.Int64()
	return n
}

// Sum adds two counts. If the sum is too large, Sum returns the largest possible count.
func Sum(a, b int64) int64 {
	switch {
	case b > 0 && a > math.MaxInt64-b:
		return math.MaxInt64
	case b < 0 && a < math.MinInt64-b:
		return math.MinInt64
	default:
		return a + b
	}
}
