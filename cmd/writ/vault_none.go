//go:build !pkcs11

package main

import "errors"

func openToken(module, label, pin string) (vault, error) {
	return nil, errors.New("serve.keys.pkcs11: this binary was built without PKCS#11: build with -tags pkcs11")
}
