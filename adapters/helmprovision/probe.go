package helmprovision

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"time"
)

// probeTimeout bounds one question to a published endpoint.
const probeTimeout = 5 * time.Second

// answers asks whether a control plane with this certificate authority answers at
// endpoint, and says why not. Users choose the address: whoever else is there learns
// nothing but that somebody asked for a TLS connection, and no user learns what else
// is there, so that the error is for the operator's log only.
func (c Config) answers(ctx context.Context, endpoint string, ca []byte) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := &http.Transport{
		DialContext: c.Dial, DisableKeepAlives: true, TLSHandshakeTimeout: probeTimeout, MaxResponseHeaderBytes: 1 << 14,
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/readyz", http.NoBody)
	if err != nil {
		return err
	}
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	// A server that tells strangers nothing is the control plane's all the same.
	switch answer.StatusCode {
	case http.StatusOK, http.StatusUnauthorized, http.StatusForbidden:
		return nil
	}
	return fmt.Errorf("it answers with the status %d", answer.StatusCode)
}
