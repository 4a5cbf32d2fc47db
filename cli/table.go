package cli

import (
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
)

// style is how a cell is coloured where colours are wanted.
type style string

// The styles, as ANSI codes.
const (
	plain  style = ""
	bold   style = "1"
	faint  style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
)

// cell is one value of a table.
type cell struct {
	text  string
	style style
}

func text(s string) cell { return cell{text: s} }

// column is the head of a table's column.
type column struct {
	title string
	right bool // numbers
	// least is how narrow a terminal may make it; 0: it keeps its width. The
	// rightmost columns give way first.
	least int
	// spare columns are left out where even that is too wide, the highest
	// number first; 0: never.
	spare int
	// id is cut without a mark, so that what is left can be copied.
	id bool
}

// table is rows for people. A column that is empty in all rows is not shown.
type table struct {
	columns []column
	rows    [][]cell
}

func (t *table) add(cells ...cell) {
	for i := range cells {
		cells[i].text = printable(cells[i].text, true)
	}
	t.rows = append(t.rows, cells)
}

const gap = "  "

// render gives the lines of the table, no wider than width unless that is 0 or
// less than the columns need at least.
func (t *table) render(width int, colors bool) string {
	var shown []int
	full := make([]int, len(t.columns))
	for i, c := range t.columns {
		used := 0
		for _, row := range t.rows {
			used = max(used, runewidth.StringWidth(row[i].text))
		}
		if used > 0 {
			shown = append(shown, i)
			full[i] = max(used, runewidth.StringWidth(c.title))
		}
	}
	shown, widths := t.fit(shown, full, width)
	head := make([]cell, len(t.columns))
	for i, c := range t.columns {
		head[i] = cell{c.title, bold}
	}
	var b strings.Builder
	for _, row := range slices.Concat([][]cell{head}, t.rows) {
		t.line(&b, row, shown, widths, colors)
	}
	return b.String()
}

// fit chooses the columns that a terminal has room for, and their widths: the
// rightmost that may be narrower are, then the spare ones go.
func (t *table) fit(shown, full []int, width int) (columns, widths []int) {
	if width <= 0 {
		return shown, full
	}
	for {
		widths = slices.Clone(full)
		over := len(gap)*(len(shown)-1) - width
		for _, i := range shown {
			over += widths[i]
		}
		for _, i := range slices.Backward(shown) {
			least := max(t.columns[i].least, runewidth.StringWidth(t.columns[i].title))
			if over > 0 && t.columns[i].least > 0 && widths[i] > least {
				less := min(over, widths[i]-least)
				widths[i] -= less
				over -= less
			}
		}
		last := -1
		for at, i := range shown {
			if spare := t.columns[i].spare; spare > 0 && (last < 0 || spare > t.columns[shown[last]].spare) {
				last = at
			}
		}
		if over <= 0 || last < 0 {
			return shown, widths
		}
		shown = slices.Delete(slices.Clone(shown), last, last+1)
	}
}

func (t *table) line(b *strings.Builder, row []cell, shown, widths []int, colors bool) {
	var line strings.Builder
	for n, i := range shown {
		if n > 0 {
			line.WriteString(gap)
		}
		s := row[i].text
		if runewidth.StringWidth(s) > widths[i] {
			mark := "…"
			if t.columns[i].id {
				mark = ""
			}
			s = runewidth.Truncate(s, widths[i], mark)
		}
		pad := strings.Repeat(" ", max(0, widths[i]-runewidth.StringWidth(s)))
		if t.columns[i].right {
			line.WriteString(pad)
			pad = ""
		}
		line.WriteString(paint(s, row[i].style, colors))
		if n < len(shown)-1 {
			line.WriteString(pad)
		}
	}
	b.WriteString(strings.TrimRight(line.String(), " "))
	b.WriteByte('\n')
}

func paint(s string, st style, colors bool) string {
	if !colors || st == plain || s == "" {
		return s
	}
	return "\x1b[" + string(st) + "m" + s + "\x1b[0m"
}

// fact is one line of what is told of a single thing.
type fact struct {
	name  string
	value cell
}

// facts says a single thing, a fact a line; those without a value are left out.
func facts(list []fact, colors bool) string {
	wide := 0
	for _, f := range list {
		if f.value.text != "" {
			wide = max(wide, runewidth.StringWidth(printable(f.name, true)))
		}
	}
	var b strings.Builder
	for _, f := range list {
		if f.value.text == "" {
			continue
		}
		name := printable(f.name, true)
		b.WriteString(paint(name+":", bold, colors))
		indent := strings.Repeat(" ", wide+len(gap)+1)
		b.WriteString(indent[runewidth.StringWidth(name)+1:])
		lines := strings.Split(strings.TrimRight(printable(f.value.text, false), "\n"), "\n")
		for i, line := range lines {
			if i > 0 && line != "" {
				b.WriteString(indent)
			}
			b.WriteString(paint(line, f.value.style, colors))
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// stateStyle colours the state of anything: a job, a node, a task, an
// application.
func stateStyle(state string) style {
	switch state {
	case "SUCCEEDED", "ALIVE", "HEALTHY", "RUNNING", "FINISHED":
		return green
	case "FAILED", "DEAD", "UNHEALTHY", "DEPLOY_FAILED":
		return red
	case "STOPPED", "DELETING", "DRAINED":
		return faint
	case "":
		return plain
	}
	return yellow // on its way
}

func state(s string) cell { return cell{s, stateStyle(s)} }
