package postgres

// Populate has all rows read by jsonb_populate_record.
func Populate(p *Postgres) *Postgres {
	p.populate = true
	return p
}

// Fast reports whether a value of a type is written without jsonb_populate_record.
func Fast(value, kind string) bool {
	_, ok := input([]byte(value), kind)
	return ok
}
