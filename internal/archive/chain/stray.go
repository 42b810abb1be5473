package chain

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/daymill/daymill/internal/archive/segment"
	"github.com/daymill/daymill/internal/archive/store"
)

// SchemaName is the name of the file with the last version of the schema, if changes are detected.
const SchemaName = "schema.json"

// proofTime is the format of the names of proofs.
const proofTime = "20060102T150405"

// named reports whether a file's name is that of a gap or a proof, in the directory of these.
func named(dir, name string) bool {
	stem, is := strings.CutSuffix(strings.TrimPrefix(name, dir), ".json")
	if dir == proofsDir {
		_, err := time.Parse(proofTime, stem)
		return is && err == nil
	}
	return is && segment.IsPosition(stem)
}

// baseNamed reports whether a file's name is that of the list of a base's files.
func baseNamed(name string) bool {
	return path.Base(name) == "base.json" && segment.IsPosition(strings.TrimPrefix(path.Dir(name), basesDir))
}

// Strays returns the names of files that do not belong to the archive. Nothing reads them.
func (c *Chain) Strays(ctx context.Context) (strays []string, err error) {
	names, err := c.store.Names(ctx, "")
	if err != nil {
		return nil, err
	}
	own := map[string]bool{ManifestName: true, SchemaName: true}
	add := func(files ...store.File) {
		for _, file := range files {
			own[file.Name] = true
		}
	}
	add(c.Manifest.Files...)
	var complete []string
	for i := range c.Bases {
		dir := BaseDir(c.Bases[i].Position)
		complete = append(complete, dir)
		add(c.Bases[i].Files...)
		add(c.Bases[i].Globals, store.File{Name: dir + "base.json"})
	}
	return slices.DeleteFunc(names, func(name string) bool {
		dir, _, _ := strings.Cut(name, "/")
		switch dir += "/"; dir {
		case segment.Dir + "/":
			_, is := segment.Position(name)
			return is
		case gapsDir, proofsDir:
			return named(dir, name)
		case basesDir:
			parent := path.Dir(name)
			// A base may be incomplete, because it is being made.
			return own[name] || segment.IsPosition(path.Base(parent)) && !slices.Contains(complete, parent+"/")
		}
		return own[name]
	}), nil
}

// unmixed returns an error that names files that do not belong to the archive.
func (c *Chain) unmixed(ctx context.Context) error {
	strays, err := c.Strays(ctx)
	if err != nil || len(strays) == 0 {
		return err
	}
	others := ""
	if n := len(strays) - 1; n > 0 {
		others = fmt.Sprintf(", nor do %d others", n)
	}
	return fmt.Errorf("%s does not belong to the archive%s: nothing reads it, so move it elsewhere", strays[0], others)
}
