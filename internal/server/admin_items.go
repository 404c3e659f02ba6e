package server

import (
	"net/http"

	"github.com/writ-auth/writ/internal/admin"
)

// items is a list that is whole.
type items struct {
	Items any    `json:"items"`
	Next  string `json:"next"`
}

func (a api) clients(r *http.Request) (int, any, error) {
	after, limit, err := span(r)
	if err != nil {
		return 0, nil, err
	}
	page, err := a.admin.Clients(r.Context(), after, limit)
	return http.StatusOK, page, err
}

func (a api) addClient(r *http.Request) (int, any, error) {
	var in admin.Client
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	made, err := a.admin.AddClient(r.Context(), a.by(r), in)
	return http.StatusCreated, made, err
}

func (a api) client(r *http.Request) (int, any, error) {
	c, err := a.admin.Client(r.Context(), r.PathValue("id"))
	return http.StatusOK, c, err
}

func (a api) setClient(r *http.Request) (int, any, error) {
	body, err := readAll(r)
	if err != nil {
		return 0, nil, err
	}
	c, err := a.admin.SetClient(r.Context(), a.by(r), r.PathValue("id"), func(c *admin.Client) error {
		return strict(body, c)
	})
	return http.StatusOK, c, err
}

func (a api) removeClient(r *http.Request) (int, any, error) {
	return http.StatusNoContent, nil, a.admin.RemoveClient(r.Context(), a.by(r), r.PathValue("id"))
}

func (a api) renewSecret(r *http.Request) (int, any, error) {
	if err := read(r, &struct{}{}); err != nil {
		return 0, nil, err
	}
	c, err := a.admin.RenewSecret(r.Context(), a.by(r), r.PathValue("id"))
	return http.StatusOK, c, err
}

func (a api) resources(r *http.Request) (int, any, error) {
	after, limit, err := span(r)
	if err != nil {
		return 0, nil, err
	}
	page, err := a.admin.Resources(r.Context(), after, limit)
	return http.StatusOK, page, err
}

func (a api) addResource(r *http.Request) (int, any, error) {
	var in admin.Resource
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	made, err := a.admin.AddResource(r.Context(), a.by(r), in)
	return http.StatusCreated, made, err
}

func (a api) resource(r *http.Request) (int, any, error) {
	found, err := a.admin.Resource(r.Context(), r.PathValue("id"))
	return http.StatusOK, found, err
}

func (a api) setResource(r *http.Request) (int, any, error) {
	body, err := readAll(r)
	if err != nil {
		return 0, nil, err
	}
	set, err := a.admin.SetResource(r.Context(), a.by(r), r.PathValue("id"), func(in *admin.Resource) error {
		// A list is replaced, not merged: encoding/json would fill old elements.
		before := in.Scopes
		in.Scopes = nil
		err := strict(body, in)
		if in.Scopes == nil {
			in.Scopes = before
		}
		return err
	})
	return http.StatusOK, set, err
}

func (a api) removeResource(r *http.Request) (int, any, error) {
	return http.StatusNoContent, nil, a.admin.RemoveResource(r.Context(), a.by(r), r.PathValue("id"))
}

func (a api) users(r *http.Request) (int, any, error) {
	if name := r.URL.Query().Get("username"); name != "" {
		return a.userNamed(r, name)
	}
	after, limit, err := span(r)
	if err != nil {
		return 0, nil, err
	}
	page, err := a.admin.Users(r.Context(), after, limit)
	return http.StatusOK, page, err
}

// userNamed is a list of the one person with a user name, or of nobody.
func (a api) userNamed(r *http.Request, name string) (int, any, error) {
	found, err := a.admin.UsersNamed(r.Context(), name)
	return http.StatusOK, items{Items: found}, err
}

func (a api) addUser(r *http.Request) (int, any, error) {
	var in admin.NewUser
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	made, err := a.admin.AddUser(r.Context(), a.by(r), in)
	return http.StatusCreated, made, err
}

func (a api) user(r *http.Request) (int, any, error) {
	u, err := a.admin.User(r.Context(), r.PathValue("id"))
	return http.StatusOK, u, err
}

func (a api) setUser(r *http.Request) (int, any, error) {
	body, err := readAll(r)
	if err != nil {
		return 0, nil, err
	}
	var asked admin.NewUser
	if err := strict(body, &asked); err != nil {
		return 0, nil, err
	}
	set, err := a.admin.SetUser(r.Context(), a.by(r), r.PathValue("id"), asked.Password, func(u *admin.User) error {
		in := admin.NewUser{User: *u}
		err := strict(body, &in)
		*u = in.User
		return err
	})
	return http.StatusOK, set, err
}

func (a api) removeUser(r *http.Request) (int, any, error) {
	return http.StatusNoContent, nil, a.admin.RemoveUser(r.Context(), a.by(r), r.PathValue("id"))
}

func (a api) keys(r *http.Request) (int, any, error) {
	keys, err := a.admin.Keys(r.Context())
	return http.StatusOK, items{Items: keys}, err
}

func (a api) rotateKey(r *http.Request) (int, any, error) {
	var in struct {
		Algorithm string `json:"algorithm"`
	}
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	key, err := a.admin.RotateKey(r.Context(), a.by(r), in.Algorithm)
	return http.StatusOK, key, err
}

func (a api) compromiseKey(r *http.Request) (int, any, error) {
	if err := read(r, &struct{}{}); err != nil {
		return 0, nil, err
	}
	done, err := a.admin.CompromiseKey(r.Context(), a.by(r), r.PathValue("id"))
	return http.StatusOK, done, err
}

func (a api) end(r *http.Request) (int, any, error) {
	var in admin.Revocation
	if err := read(r, &in); err != nil {
		return 0, nil, err
	}
	ended, err := a.admin.End(r.Context(), a.by(r), in)
	return http.StatusOK, ended, err
}

func (a api) rules(r *http.Request) (int, any, error) {
	q := r.URL.Query()
	rules, err := a.admin.Rules(r.Context(), q.Get("kind"), q.Get("value"))
	return http.StatusOK, items{Items: rules}, err
}

func (a api) guards(r *http.Request) (int, any, error) {
	guards, err := a.admin.Guards(r.Context())
	return http.StatusOK, items{Items: guards}, err
}

func (a api) audit(r *http.Request) (int, any, error) {
	after, limit, err := span(r)
	if err != nil {
		return 0, nil, err
	}
	page, err := a.admin.Audit(r.Context(), after, limit)
	return http.StatusOK, page, err
}
