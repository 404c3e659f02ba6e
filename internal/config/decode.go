package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// decoder fills structs from YAML nodes. It is stricter than the library's own
// decoding, and says what it wanted: aliases, nulls, keys that are unknown or
// there twice, and values of another kind are problems.
type decoder struct {
	file     *File
	problems Problems
}

func (d *decoder) wrong(n *yaml.Node, path, format string, args ...any) {
	d.problems = append(d.problems, Problem{File: d.file.name, Line: n.Line, Key: path, Message: fmt.Sprintf(format, args...)})
}

// keys lists the fields of a struct by their key.
func keys(t reflect.Type) (names []string, fields map[string]int) {
	fields = map[string]int{}
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("yaml"); name != "" {
			names = append(names, name)
			fields[name] = i
		}
	}
	return names, fields
}

// object fills the struct that into points to.
func (d *decoder) object(n *yaml.Node, path string, into any) {
	v := reflect.ValueOf(into).Elem()
	names, fields := keys(v.Type())
	if n.Kind != yaml.MappingNode {
		d.wrong(n, path, "must be keys with values: %s", strings.Join(names, ", "))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		field, known := fields[key.Value]
		at := join(path, key.Value)
		switch {
		case key.Kind != yaml.ScalarNode || !known:
			d.wrong(key, at, "is not known; want %s", strings.Join(names, ", "))
		case seen[key.Value]:
			d.wrong(key, at, "is there twice")
		default:
			seen[key.Value] = true
			d.file.lines[at] = key.Line
			d.value(value, at, v.Field(field))
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// value fills one field.
func (d *decoder) value(n *yaml.Node, path string, v reflect.Value) {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.wrong(n, path, "must not be an anchor or alias: write the value out")
	case n.Tag == "!!null":
		d.wrong(n, path, "has no value: give one, or leave the key out")
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.object(n, path, v.Interface())
	case v.Kind() == reflect.Slice:
		d.list(n, path, v)
	case v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[netip.Prefix]():
		d.object(n, path, v.Addr().Interface())
	default:
		d.scalar(n, path, v)
	}
}

func (d *decoder) list(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.wrong(n, path, "must be a list")
		return
	}
	all := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, element := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		d.file.lines[at] = element.Line
		d.value(element, at, all.Index(i))
	}
	v.Set(all)
}

// scalar reads a single value in the way of the field's type.
func (d *decoder) scalar(n *yaml.Node, path string, v reflect.Value) {
	want := ""
	if n.Kind != yaml.ScalarNode {
		d.wrong(n, path, "must be a single value")
		return
	}
	switch field := v.Addr().Interface().(type) {
	case *string:
		if n.Tag == "!!bool" {
			want = "text; put it in quotes if it is meant so"
		}
		*field = n.Value
	case *bool:
		*field = n.Value == "true"
		if n.Tag != "!!bool" || n.Value != "true" && n.Value != "false" {
			want = "true or false"
		}
	case *int:
		number, err := strconv.Atoi(n.Value)
		*field = number
		if err != nil || number < 0 {
			want = "a whole number"
		}
	case *time.Duration:
		length, ok := duration(n.Value)
		*field = length
		if !ok {
			want = "a length of time such as 90s, 5m, 12h or 30d"
		}
	case *Size:
		size, ok := bytesOf(n.Value)
		*field = size
		if !ok {
			want = "a size such as 512KiB or 10MiB, or " + Unlimited
		}
	case *netip.Prefix:
		prefix, err := netip.ParsePrefix(n.Value)
		*field = prefix
		if err != nil {
			want = "an address range such as 10.0.0.0/8 or 127.0.0.1/32"
		}
	default:
		panic(fmt.Sprintf("config: no way to write a %s", v.Type())) // a new field; the tests find it
	}
	if want != "" {
		d.wrong(n, path, "is %q, want %s", n.Value, want)
	}
}

// duration reads what time.ParseDuration does, and whole days. Zero and less are
// no lengths; unlimited is -1 where the key allows it.
func duration(text string) (time.Duration, bool) {
	if text == Unlimited {
		return -1, true
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseInt(days, 10, 32)
		return time.Duration(n) * 24 * time.Hour, err == nil && n > 0 && n <= 36500
	}
	length, err := time.ParseDuration(text)
	return length, err == nil && length > 0
}

// bytesOf reads a number of bytes with a binary unit.
func bytesOf(text string) (Size, bool) {
	if text == Unlimited {
		return -1, true
	}
	unit := int64(1)
	for name, size := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if number, ok := strings.CutSuffix(text, name); ok {
			text, unit = number, size
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 32)
	return Size(n * unit), err == nil && n > 0
}
