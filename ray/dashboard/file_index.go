package dashboard

import (
	"errors"
	"io"
	"net/url"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"raytap/ray"
)

const (
	maxIndex    = 10 << 20 // bytes read of an index
	maxIndexTag = 64 << 10 // bytes of one tag or text in it
)

// readFileIndex reads the HTML index of a directory. base is the directory's escaped
// path, which ends with a slash: a link counts if it leads to something directly in it.
// A link that ends with a slash is a directory. nil: the page is not an index.
//
// aiohttp has the heading "Index of /" and, for each name, a link with an absolute path
// (its text is escaped since 3.8); Go's file server has relative links in a <pre> and
// nothing else.
func readFileIndex(r io.Reader, base string) (*ray.FileIndex, error) {
	bounded := &io.LimitedReader{R: r, N: maxIndex}
	page := html.NewTokenizer(bounded)
	page.SetMaxBuf(maxIndexTag)
	index := ray.FileIndex{Names: []string{}}
	isIndex, pre, other := false, false, false
	var link entry
	for {
		switch page.Next() {
		case html.ErrorToken:
			switch err := page.Err(); {
			case bounded.N <= 0:
				index.Truncated = true
			case errors.Is(err, html.ErrBufferExceeded):
				return nil, nil
			case !errors.Is(err, io.EOF):
				return nil, err
			}
			if !isIndex && (!pre || other) {
				return nil, nil
			}
			return &index, nil
		case html.StartTagToken:
			name, hasAttr := page.TagName()
			switch atom.Lookup(name) {
			case atom.A:
				link = entryOf(page, hasAttr, base)
			case atom.Html, atom.Head, atom.Meta, atom.Title, atom.Body:
			case atom.Pre:
				pre = true
			default:
				other = true
			}
		case html.EndTagToken:
			if name, _ := page.TagName(); atom.Lookup(name) == atom.A {
				if link.isFile() {
					index.Names = append(index.Names, link.name)
				}
				isIndex = isIndex || link.name != ""
				link = entry{}
			}
		case html.TextToken:
			text := page.Text()
			isIndex = isIndex || strings.HasPrefix(strings.TrimSpace(string(text)), "Index of /")
			link.isDir = link.isDir || strings.HasSuffix(string(text), "/")
		}
	}
}

// entry is a link of an index to a file or a directory.
type entry struct {
	name  string // "": the link leads elsewhere
	isDir bool
}

func (e entry) isFile() bool { return e.name != "" && !e.isDir }

// entryOf returns what the link at the tokenizer's position leads to.
func entryOf(page *html.Tokenizer, hasAttr bool, base string) entry {
	for hasAttr {
		var key, value []byte
		key, value, hasAttr = page.TagAttr()
		if string(key) != "href" {
			continue
		}
		at, err := url.Parse(string(value))
		if err != nil || at.Host != "" || at.RawQuery != "" {
			return entry{}
		}
		path := at.EscapedPath()
		if strings.HasPrefix(path, "/") {
			rest, ok := strings.CutPrefix(path, base)
			if !ok {
				return entry{}
			}
			path = rest
		}
		path = strings.TrimPrefix(path, "./") // before a name with a colon
		path, isDir := strings.CutSuffix(path, "/")
		name, err := url.PathUnescape(path)
		if err != nil || strings.Contains(path, "/") || !isFileName(name) {
			return entry{}
		}
		return entry{name, isDir}
	}
	return entry{}
}
