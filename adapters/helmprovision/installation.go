package helmprovision

import "github.com/kubebyon/kubebyon/core/kernel/id"

// DefaultInstallation is the name of an installation that was given none.
const DefaultInstallation = "kubebyon"

// labelInstallation says which of several installations on one host cluster made
// a namespace. The others leave it alone.
const labelInstallation = "kubebyon.io/installation"

// marks are the labels of a cluster's namespace.
func (c Config) marks(cluster id.Cluster) map[string]string {
	return map[string]string{managedBy: managedName, labelInstallation: c.Installation, labelCluster: cluster.String()}
}

// selector finds the namespaces of this installation's clusters.
func (c Config) selector() string {
	return managedBy + "=" + managedName + "," + labelInstallation + "=" + c.Installation + "," + labelCluster
}

func (c Config) made(labels map[string]string) bool {
	return labels[managedBy] == managedName && labels[labelInstallation] == c.Installation && labels[labelCluster] != ""
}
