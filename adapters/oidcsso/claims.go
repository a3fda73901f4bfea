package oidcsso

import (
	"encoding/json"
	"slices"
	"strings"
)

// claims are looked up by their exact names.
type claims map[string]json.RawMessage

// text returns a claim that is text, else "".
func (c claims) text(name string) string {
	var s string
	if json.Unmarshal(c[name], &s) != nil {
		return ""
	}
	return s
}

// isTrue takes "true" too, which is what AWS Cognito says.
func (c claims) isTrue(name string) bool {
	s := string(c[name])
	return s == `true` || s == `"true"`
}

// read are the claims that something here decides by.
var read = []string{ //nolint:gochecknoglobals // a constant table
	"iss", "sub", "aud", "exp", "nbf", "iat", "nonce", "azp", "at_hash", "email", "email_verified", "_claim_names", "_claim_sources",
}

// isAmbiguous looks for a second spelling of a claim that counts. encoding/json,
// with which go-oidc reads tokens, would take it for the claim itself: whoever
// may add claims of their own to an account could become somebody else.
func (c claims) isAmbiguous() bool {
	for name := range c {
		if slices.ContainsFunc(read, func(r string) bool { return r != name && strings.EqualFold(r, name) }) {
			return true
		}
	}
	return false
}
