package main

import (
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// decodeWith returns a mapper of kong that parses a value's text. kong's own mappers do not say what to write instead.
func decodeWith[T any](parse func(text string) (T, error)) kong.Mapper {
	return kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		var text string
		if err := ctx.Scan.PopValueInto("value", &text); err != nil {
			return err //nolint:wrapcheck // It is a sentence of its own.
		}
		parsed, err := parse(text)
		if err == nil {
			target.Set(reflect.ValueOf(parsed).Convert(target.Type()))
		}
		return err
	})
}

// parseDuration reads 30s, 5m, 12h or 90d.
func parseDuration(text string) (time.Duration, error) {
	if number, is := strings.CutSuffix(text, "d"); is {
		if n, err := strconv.ParseUint(number, 10, 16); err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	} else if parsed, err := time.ParseDuration(text); err == nil {
		return parsed, nil
	}
	return 0, fmt.Errorf("%q is not a duration: write it as 30s, 5m, 12h or 90d", text)
}

func parseLevel(text string) (level slog.Level, err error) {
	if err := level.UnmarshalText([]byte(text)); err != nil {
		return 0, fmt.Errorf("%q is not a level: write debug, info, warn or error", text)
	}
	return level, nil
}

func parseNumber(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", text)
	}
	return n, nil
}
