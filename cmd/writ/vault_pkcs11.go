//go:build pkcs11

package main

import "github.com/writ-auth/writ/internal/pkcs11"

func openToken(module, label, pin string) (vault, error) {
	token, err := pkcs11.Open(pkcs11.Config{Module: module, Label: label, PIN: pin})
	if err != nil {
		return nil, err // and no vault that is not nil
	}
	return token, nil
}
