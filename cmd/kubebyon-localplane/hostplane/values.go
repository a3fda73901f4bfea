package hostplane

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/plane"
)

// chartValues is what matters here of the values in vc-config-NAME.
type chartValues struct {
	ControlPlane struct {
		Endpoint string `json:"endpoint"`
		Distro   struct {
			K8S struct {
				Version string `json:"version"`
				Image   struct {
					Tag string `json:"tag"`
				} `json:"image"`
			} `json:"k8s"`
		} `json:"distro"`
		Proxy struct {
			ExtraSANs []string `json:"extraSANs"`
		} `json:"proxy"`
		Ingress struct {
			Enabled bool   `json:"enabled"`
			Host    string `json:"host"`
		} `json:"ingress"`
	} `json:"controlPlane"`
	Networking struct {
		PodCIDR     string `json:"podCIDR"`
		ServiceCIDR string `json:"serviceCIDR"`
	} `json:"networking"`
	ExportKubeConfig struct {
		Context  string `json:"context"`
		Server   string `json:"server"`
		Insecure bool   `json:"insecure"`
	} `json:"exportKubeConfig"`
}

const (
	configKey     = "config.yaml"
	defaultServer = "https://localhost:8443"

	// What the chart leaves to the control plane.
	defaultPodCIDR     = "10.244.0.0/16"
	defaultServiceCIDR = "10.96.0.0/16"
)

func parseValues(text []byte) (chartValues, error) {
	var v chartValues
	if err := yaml.Unmarshal(text, &v); err != nil {
		return v, fmt.Errorf("parse %s: %w", configKey, err)
	}
	return v, nil
}

// version is the tenant's, if it is offered: any patch of a minor that is.
func (v chartValues) version() (string, error) {
	asked := cmp.Or(v.ControlPlane.Distro.K8S.Version, v.ControlPlane.Distro.K8S.Image.Tag)
	if found, err := plane.FindVersion(asked); err == nil {
		return found.Name, nil
	}
	parts := strings.SplitN(strings.TrimPrefix(asked, "v"), ".", 3)
	found, err := plane.FindVersion(strings.Join(parts[:min(2, len(parts))], "."))
	return found.Name, err
}

func (v chartValues) podCIDR() string { return cmp.Or(v.Networking.PodCIDR, defaultPodCIDR) }

func (v chartValues) serviceCIDR() string {
	return cmp.Or(v.Networking.ServiceCIDR, defaultServiceCIDR)
}

func (v chartValues) server() string { return cmp.Or(v.ExportKubeConfig.Server, defaultServer) }

// public is the host:port that the values tell clients, if they do.
func (v chartValues) public() string {
	if v.ControlPlane.Endpoint != "" {
		return v.ControlPlane.Endpoint
	}
	if v.ExportKubeConfig.Server == "" {
		return ""
	}
	u, err := url.Parse(v.ExportKubeConfig.Server)
	if err != nil || u.Hostname() == "" {
		return ""
	}
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443"))
}

// names are those that the values add to the certificate.
func (v chartValues) names() []string {
	names := append([]string{}, v.ControlPlane.Proxy.ExtraSANs...)
	if v.ControlPlane.Ingress.Enabled {
		names = append(names, v.ControlPlane.Ingress.Host)
	}
	if u, err := url.Parse(v.server()); err == nil && u.Hostname() != "" {
		names = append(names, u.Hostname())
	}
	return names
}
