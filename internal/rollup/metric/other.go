package metric

import (
	"bytes"
	"encoding/json"
	"math"
	"math/big"
	"strconv"
)

// Other reads other_counts as analytics.other_count does. A run writes whole numbers only, but older systems, and people,
// have left fractions, texts and numbers beyond any count in them: what is no number counts for none, a fraction for its
// whole part, and what is beyond for as much as fits. `daymill verify` says which dates have such rows.
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

// whole is a number without its fraction, or the nearest that fits.
func whole(number json.Number) int64 {
	if n, err := strconv.ParseInt(number.String(), 10, 64); err == nil {
		return n
	}
	// Its precision is enough for what fits, and an exponent of any size takes no memory.
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

// Sum adds two counts up. What is beyond is as much as fits: a sum of counts is never negative.
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
