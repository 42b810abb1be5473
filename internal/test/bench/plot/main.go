// Plot draws the results of the benchmark, one SVG per scenario. It is a separate module, so that applications that import Daymill do not
// depend on a plotting library. `make bench-docs` runs it:
//
//	plot RESULTS.json DIRECTORY
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// results are the results that the benchmark writes with -json, as far as they are drawn.
type results struct {
	Scenarios []scenario `json:"scenarios"`
}

type scenario struct {
	Name string `json:"name"`
	Rows []row  `json:"rows"`
}

type row struct {
	Contender string            `json:"contender"`
	Values    map[string]spread `json:"values"`
}

type spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// panel is a measure. Panels are drawn side by side.
type panel struct {
	key, title string
	per        float64 // the title's unit, in the unit of the results
}

// panels returns all panels. A scenario draws the first three that it has measured.
func panels() []panel {
	const mebi = 1 << 20
	return []panel{
		{"p50", "p50, ms", 1},
		{"p99", "p99, ms", 1},
		{"worst", "worst, ms", 1},
		{"wall", "time, s", 1000},
		{"wal", "WAL, MiB", mebi},
		{"longest", "longest statement, s", 1000},
		{"memory", "peak memory, MiB", mebi},
		{"throughput", "per second", 1},
	}
}

const mostPanels = 3

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) != 2 {
		return errors.New("give the results' file and the directory to draw into")
	}
	text, err := os.ReadFile(arguments[0])
	if err != nil {
		return err
	}
	var all results
	if err := json.Unmarshal(text, &all); err != nil {
		return fmt.Errorf("read %s: %w", arguments[0], err)
	}
	for _, s := range all.Scenarios {
		if len(s.Rows) == 0 {
			continue
		}
		if err := s.draw(filepath.Join(arguments[1], "bench-"+s.Name+".svg")); err != nil {
			return fmt.Errorf("draw %s: %w", s.Name, err)
		}
	}
	return nil
}

// draw writes a scenario's panels side by side; only the first names the contenders.
func (s scenario) draw(path string) error {
	var plots []*plot.Plot
	for _, p := range panels() {
		if len(plots) == mostPanels || !s.has(p.key) {
			continue
		}
		drawn, err := s.panel(p, len(plots) == 0)
		if err != nil {
			return err
		}
		plots = append(plots, drawn)
	}
	if len(plots) == 0 {
		return errors.New("none of its measures is one that is drawn")
	}
	canvas := vgsvg.New(vg.Length(9+7*len(plots))*vg.Centimeter, vg.Length(1.6+0.9*float64(len(s.Rows)))*vg.Centimeter)
	tiles := draw.Tiles{Rows: 1, Cols: len(plots), PadX: 6 * vg.Millimeter, PadLeft: 2 * vg.Millimeter, PadRight: 4 * vg.Millimeter, PadY: vg.Millimeter}
	for i, c := range plot.Align([][]*plot.Plot{plots}, tiles, draw.New(canvas))[0] {
		plots[i].Draw(c)
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = canvas.WriteTo(file)
	return errors.Join(err, file.Close())
}

func (s scenario) has(key string) bool {
	return slices.ContainsFunc(s.Rows, func(r row) bool { return r.Values[key].High > 0 })
}

// bars are the medians of a panel, with the lowest and highest round as error bars.
type bars struct {
	plotter.XYs
	plotter.XErrors
}

// panel draws one measure as horizontal bars, in the order of the table from top to bottom.
func (s scenario) panel(p panel, named bool) (*plot.Plot, error) {
	n := len(s.Rows)
	drawn := plot.New()
	drawn.X.Label.Text = p.title
	drawn.X.Min = 0
	drawn.Add(plotter.NewGrid())
	values, errorBars, names := make(plotter.Values, n), bars{make(plotter.XYs, n), make(plotter.XErrors, n)}, make([]string, n)
	for i, r := range s.Rows {
		at, v := n-1-i, r.Values[p.key]
		values[at] = v.Median / p.per
		errorBars.XYs[at] = plotter.XY{X: v.Median / p.per, Y: float64(at)}
		errorBars.XErrors[at].Low, errorBars.XErrors[at].High = (v.Median-v.Low)/p.per, (v.High-v.Median)/p.per
		if named {
			names[at] = strings.ReplaceAll(r.Contender, "`", "")
		}
	}
	chart, err := plotter.NewBarChart(values, 5*vg.Millimeter)
	if err != nil {
		return nil, err
	}
	chart.Horizontal = true
	chart.LineStyle.Width = 0
	chart.Color = teal{}
	spreads, err := plotter.NewXErrorBars(errorBars)
	if err != nil {
		return nil, err
	}
	drawn.Add(chart, spreads)
	drawn.NominalY(names...)
	drawn.Y.Min, drawn.Y.Max = -0.6, float64(n)-0.4
	drawn.X.Max = math.Max(drawn.X.Max, 1e-3)
	return drawn, nil
}

// teal is the color of the bars, which is visible on white and on black.
type teal struct{}

// RGBA is #2a9d8f.
func (teal) RGBA() (r, g, b, a uint32) { return 0x2a2a, 0x9d9d, 0x8f8f, 0xffff }
