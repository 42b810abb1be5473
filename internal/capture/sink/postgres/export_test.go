package postgres

import "github.com/tidwall/gjson"

// Populate makes the sink read all rows with jsonb_populate_record.
func Populate(p *Postgres) *Postgres {
	p.populate = true
	return p
}

// Fast reports whether a value of a type can be written without jsonb_populate_record.
func Fast(value, kind string) bool {
	_, ok := input(gjson.Parse(value), kind)
	return ok
}
