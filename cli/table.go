package cli

import (
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
)

// style is the color of a cell.
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

// cell is a value in a table.
type cell struct {
	text  string
	style style
}

func text(s string) cell { return cell{text: s} }

// column describes a column of a table.
type column struct {
	title      string
	alignRight bool
	// minWidth is the width to which the column may shrink to fit the terminal; 0: it
	// does not shrink. The rightmost columns shrink first.
	minWidth int
	// dropOrder is the order in which columns are dropped if that is not enough, the
	// highest first; 0: never.
	dropOrder int
	// noEllipsis truncates values without "…", so that an ID prefix can be copied.
	noEllipsis bool
}

// table is a table for people. It omits columns that are empty in all rows.
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

// render returns the lines of the table, no wider than width unless width is 0 or less
// than the minimum width of the columns.
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

// fit returns the columns that fit the terminal, and their widths: it shrinks
// columns from the right, then drops columns.
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
			minWidth := max(t.columns[i].minWidth, runewidth.StringWidth(t.columns[i].title))
			if over > 0 && t.columns[i].minWidth > 0 && widths[i] > minWidth {
				less := min(over, widths[i]-minWidth)
				widths[i] -= less
				over -= less
			}
		}
		last := -1
		for at, i := range shown {
			if order := t.columns[i].dropOrder; order > 0 && (last < 0 || order > t.columns[shown[last]].dropOrder) {
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
			if t.columns[i].noEllipsis {
				mark = ""
			}
			s = runewidth.Truncate(s, widths[i], mark)
		}
		pad := strings.Repeat(" ", max(0, widths[i]-runewidth.StringWidth(s)))
		if t.columns[i].alignRight {
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

// field is one line of the description of an object.
type field struct {
	name  string
	value cell
}

// renderFields returns the description of an object, a field a line, without fields that have no value.
func renderFields(list []field, colors bool) string {
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

// stateStyle returns the color for a state of a job, a node, a task or an application.
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
	return yellow // in transition
}

func state(s string) cell { return cell{s, stateStyle(s)} }
