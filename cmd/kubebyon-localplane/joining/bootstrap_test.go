package joining

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/filestore"
)

// A join token serves the key that asked first. A node that never heard the answer asks with that
// key again; one that was refused for good asks with another.
func TestAttemptsAskWithTheSameKeyUntilTheyAreAnswered(t *testing.T) {
	t.Parallel()
	dir, err := filestore.Claim(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Release()
	lost := attempt(t, dir, func(*certificatesv1.CertificateSigningRequest) error { return errors.New("unexpected EOF") })
	if again := attempt(t, dir, func(r *certificatesv1.CertificateSigningRequest) error {
		r.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateDenied, Status: "True"}}
		return nil
	}); again != lost {
		t.Error("the second attempt asks with another key than the first, whose answer was lost")
	}
	if after := attempt(t, dir, func(*certificatesv1.CertificateSigningRequest) error { return errors.New("unexpected EOF") }); after == lost {
		t.Error("an attempt asks with the key that was refused for good")
	}
	if info, err := os.Stat(dir.Path("pki", pendingKeyFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v %v", info, err)
	}
}

// attempt asks once, which answer settles, and returns the key that it asked with.
func attempt(t *testing.T, dir *filestore.Dir, answer func(*certificatesv1.CertificateSigningRequest) error) (key string) {
	t.Helper()
	client := fake.NewClientset()
	client.PrependReactor("create", "certificatesigningrequests", func(a clienttesting.Action) (bool, runtime.Object, error) {
		request := a.(clienttesting.CreateAction).GetObject().(*certificatesv1.CertificateSigningRequest)
		block, _ := pem.Decode(request.Spec.Request)
		asked, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(asked.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		key = string(der)
		err = answer(request)
		return err != nil, nil, err
	})
	if _, err := buy(t.Context(), dir, client, &discoveryToken{Token: "abcdef.0123456789abcdef"}, "w1"); err == nil {
		t.Fatal("there is a certificate")
	}
	return key
}
