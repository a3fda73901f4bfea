package joinobjects

import (
	"fmt"
	"net"
	"net/url"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	netutils "k8s.io/utils/net"
	"sigs.k8s.io/yaml"
)

// clusterInfo is the kubeconfig that anybody may read. kubeadm fetches it twice and compares, so
// that its bytes may not vary.
func clusterInfo(s Settings) (string, error) {
	out, err := clientcmd.Write(api.Config{
		Clusters: map[string]*api.Cluster{"": {Server: s.Endpoint, CertificateAuthorityData: s.Authority}},
	})
	return string(out), err
}

type clusterConfiguration struct {
	APIVersion           string     `json:"apiVersion"`
	Kind                 string     `json:"kind"`
	ClusterName          string     `json:"clusterName"`
	KubernetesVersion    string     `json:"kubernetesVersion"`
	ControlPlaneEndpoint string     `json:"controlPlaneEndpoint"`
	Networking           networking `json:"networking"`
}

type networking struct {
	PodSubnet     string `json:"podSubnet"`
	ServiceSubnet string `json:"serviceSubnet"`
	DNSDomain     string `json:"dnsDomain"`
}

func clusterConfig(s Settings) (string, error) {
	endpoint, err := url.Parse(s.Endpoint)
	if err != nil {
		return "", fmt.Errorf("parse the endpoint: %w", err)
	}
	out, err := yaml.Marshal(clusterConfiguration{
		APIVersion: "kubeadm.k8s.io/v1beta4", Kind: "ClusterConfiguration",
		ClusterName: s.ClusterName, KubernetesVersion: s.KubernetesVersion, ControlPlaneEndpoint: endpoint.Host,
		Networking: networking{PodSubnet: s.PodCIDR, ServiceSubnet: s.ServiceCIDR, DNSDomain: s.DNSDomain},
	})
	return string(out), err
}

// kubeletConfig names paths as they are on the joining machine, not on this one.
func kubeletConfig(s Settings) (string, error) {
	dns, err := dnsAddress(s.ServiceCIDR)
	if err != nil {
		return "", fmt.Errorf("find the DNS address: %w", err)
	}
	out, err := yaml.Marshal(map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false},
			"webhook":   map[string]any{"enabled": true},
			"x509":      map[string]any{"clientCAFile": "/etc/kubernetes/pki/ca.crt"},
		},
		"authorization":      map[string]any{"mode": "Webhook"},
		"cgroupDriver":       "systemd",
		"clusterDNS":         []string{dns.String()},
		"clusterDomain":      s.DNSDomain,
		"healthzBindAddress": "127.0.0.1",
		"healthzPort":        10248,
		"rotateCertificates": true,
		"staticPodPath":      "/etc/kubernetes/manifests",
	})
	return string(out), err
}

// dnsAddress is the tenth of the service network, as kubeadm has it.
func dnsAddress(serviceCIDR string) (net.IP, error) {
	_, network, err := netutils.ParseCIDRSloppy(serviceCIDR)
	if err != nil {
		return nil, err
	}
	return netutils.GetIndexedIP(network, 10)
}
