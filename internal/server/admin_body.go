package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/writ-auth/writ/internal/admin"
)

var errContentType = errors.New("the body must be application/json")

// read decodes the body of r into v. An empty body is an empty object.
func read(r *http.Request, v any) error {
	body, err := readAll(r)
	if err != nil {
		return err
	}
	return strict(body, v)
}

// readAll reads a JSON body of bounded size.
func readAll(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, bodyLimit))
	if err != nil {
		return nil, fmt.Errorf("read body: %w", err)
	}
	if len(body) == 0 {
		return []byte("{}"), nil
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" && kind != "application/merge-patch+json" {
		return nil, errContentType
	}
	return body, nil
}

// strict decodes an object so that no two readers can differ over it: unknown
// and repeated members are refused, and so is null, which would read as absent.
// Members that are absent leave v as it is.
func strict(body []byte, v any) error {
	if !utf8.Valid(body) {
		return &admin.Error{Message: "the body is not UTF-8"}
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	first, err := d.Token()
	if err == nil && first != json.Delim('{') {
		return &admin.Error{Message: "the body must be a JSON object"}
	}
	if err == nil {
		err = object(d)
	}
	if err == nil && d.More() {
		err = errors.New("there is something after it")
	}
	if err == nil {
		d = json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		err = d.Decode(v)
	}
	return badBody(err)
}

// badBody says an error of decoding in terms of the request.
func badBody(err error) error {
	var input *admin.Error
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil || errors.As(err, &input):
		return err
	case errors.As(err, &kind):
		return &admin.Error{Field: kind.Field, Message: "must not be a JSON " + kind.Value}
	}
	if _, name, ok := strings.Cut(err.Error(), "unknown field "); ok {
		return &admin.Error{Field: strings.Trim(name, `"`), Message: "is not known here"}
	}
	return &admin.Error{Message: "the body is not a JSON object: " + err.Error()}
}

// object walks the members of an object whose brace was read.
func object(d *json.Decoder) error {
	seen := map[string]bool{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		text, _ := name.(string)
		switch {
		case seen[text]:
			return &admin.Error{Field: text, Message: "is there twice"}
		case strings.Trim(text, "abcdefghijklmnopqrstuvwxyz_") != "":
			// encoding/json would take SCOPE for scope.
			return &admin.Error{Field: text, Message: "is not known here"}
		}
		seen[text] = true
		if err := value(d, text); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

// value walks the value of a member.
func value(d *json.Decoder, name string) error {
	t, err := d.Token()
	switch {
	case err != nil:
		return err
	case t == nil:
		return &admin.Error{Field: name, Message: "must not be null"}
	case t == json.Delim('{'):
		return object(d)
	case t == json.Delim('['):
		for d.More() {
			if err := value(d, name); err != nil {
				return err
			}
		}
		_, err = d.Token()
	}
	return err
}
