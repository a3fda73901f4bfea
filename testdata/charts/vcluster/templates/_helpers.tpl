{{/* Labels of every object. */}}
{{- define "standin.labels" -}}
app: vcluster
release: {{ .Release.Name | quote }}
chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | quote }}
heritage: {{ .Release.Service | quote }}
{{- end -}}

{{/* metadata.annotations of an object: its own over those of all. Takes [root, own]. */}}
{{- define "standin.annotations" -}}
{{- $root := index . 0 -}}
{{- with merge (dict) (index . 1) $root.Values.controlPlane.advanced.globalMetadata.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* An image's full name. Takes [root, {registry, repository}, tag]. */}}
{{- define "standin.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $registry := $root.Values.controlPlane.advanced.defaultImageRegistry | default $image.registry -}}
{{- if $registry }}{{ $registry }}/{{ end }}{{ $image.repository }}:{{ index . 2 }}
{{- end -}}

{{- define "standin.kubernetesTag" -}}
{{- $k8s := .Values.controlPlane.distro.k8s -}}
{{- $k8s.version | default $k8s.image.tag }}{{ if .Values.privateNodes.enabled }}-full{{ end }}
{{- end -}}

{{- define "standin.serviceAccount" -}}
{{- .Values.controlPlane.advanced.serviceAccount.name | default (printf "vc-%s" .Release.Name) -}}
{{- end -}}

{{/* The store that is on; more than one is an error. */}}
{{- define "standin.store" -}}
{{- $b := .Values.controlPlane.backingStore -}}
{{- $on := list -}}
{{- if $b.database.embedded.enabled }}{{ $on = append $on "embedded-database" }}{{ end -}}
{{- if $b.database.external.enabled }}{{ $on = append $on "external-database" }}{{ end -}}
{{- if $b.etcd.embedded.enabled }}{{ $on = append $on "embedded-etcd" }}{{ end -}}
{{- if $b.etcd.external.enabled }}{{ $on = append $on "external-etcd" }}{{ end -}}
{{- if $b.etcd.deploy.enabled }}{{ $on = append $on "deployed-etcd" }}{{ end -}}
{{- if gt (len $on) 1 }}{{ fail (printf "controlPlane.backingStore: %s are on, choose one" (join " and " $on)) }}{{ end -}}
{{- first $on | default "embedded-database" -}}
{{- end -}}

{{/* Not empty when the control plane has a volume claim. */}}
{{- define "standin.claim" -}}
{{- $enabled := toString .Values.controlPlane.statefulSet.persistence.volumeClaim.enabled -}}
{{- if or (eq $enabled "true") (and (eq $enabled "auto") (hasPrefix "embedded-" (include "standin.store" .))) }}yes{{ end -}}
{{- end -}}

{{- define "standin.kind" -}}
{{- if or (include "standin.claim" .) (eq (include "standin.store" .) "embedded-etcd") }}StatefulSet{{ else }}Deployment{{ end -}}
{{- end -}}

{{/* What the values may not say together. */}}
{{- define "standin.check" -}}
{{- if and (gt (int .Values.controlPlane.statefulSet.highAvailability.replicas) 1) (eq (include "standin.store" .) "embedded-database") }}
{{- fail "controlPlane.statefulSet.highAvailability.replicas: the embedded database has one replica only" }}
{{- end }}
{{- end -}}
