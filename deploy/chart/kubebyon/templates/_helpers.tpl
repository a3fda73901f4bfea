{{- define "kubebyon.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- /* Short enough that every suffix in this chart still fits a label. */ -}}
{{- define "kubebyon.fullname" -}}
{{- $name := include "kubebyon.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Names of cluster-wide objects: two releases in two namespaces do not meet. */ -}}
{{- define "kubebyon.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "kubebyon.fullname" .) -}}
{{- end -}}

{{- /* The same without the colon, which RBAC allows and nothing else does. */ -}}
{{- define "kubebyon.policyName" -}}
{{- printf "%s.%s" .Release.Namespace (include "kubebyon.fullname" .) -}}
{{- end -}}

{{- define "kubebyon.selector" -}}
app.kubernetes.io/name: {{ include "kubebyon.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "kubebyon.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "kubebyon.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/part-of: kubebyon
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* (list . "server") */ -}}
{{- define "kubebyon.serviceAccount" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}
{{- $given := index $root.Values.serviceAccount (printf "%sName" $component) -}}
{{- if $given -}}{{ $given }}
{{- else if $root.Values.serviceAccount.create -}}{{ include "kubebyon.fullname" $root }}-{{ $component }}
{{- else -}}default
{{- end -}}
{{- end -}}

{{- /* The program that does the jobs. */ -}}
{{- define "kubebyon.jobsComponent" -}}
{{- if .Values.worker.enabled -}}worker{{- else -}}server{{- end -}}
{{- end -}}

{{- /* The programs that need rights on the host, as a list in JSON. */ -}}
{{- define "kubebyon.components" -}}
{{- if .Values.worker.enabled -}}["server","worker"]{{- else -}}["server"]{{- end -}}
{{- end -}}

{{- /* (list . "server") */ -}}
{{- define "kubebyon.image" -}}
{{- $root := index . 0 -}}{{- $component := index $root.Values (index . 1) -}}
{{- $name := $component.repository -}}
{{- with $root.Values.image.registry }}{{ $name = printf "%s/%s" . $name }}{{ end -}}
{{- if $component.digest -}}{{ $name }}@{{ $component.digest }}
{{- else -}}{{ $name }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* The secrets in use, by the names of their files: {file: {secret, key}}. What
is missing stops the installation with a sentence that says what to set. */ -}}
{{- define "kubebyon.secrets" -}}
{{- $out := dict -}}
{{- $needed := list "databaseUrl" "secretKey" -}}
{{- if .Values.worker.enabled }}{{ $needed = append $needed "amqpUrl" }}{{ end -}}
{{- range $name, $secret := .Values.secrets -}}
{{- if $secret.existingSecret -}}
{{- $_ := set $out ($name | kebabcase) (dict "secret" $secret.existingSecret "key" $secret.key) -}}
{{- else if $secret.value -}}
{{- $_ := set $out ($name | kebabcase) (dict "secret" (include "kubebyon.fullname" $) "key" ($name | kebabcase)) -}}
{{- end -}}
{{- end -}}
{{- range $needed -}}
{{- if not (hasKey $out (kebabcase .)) -}}
{{- fail (printf "set secrets.%s.existingSecret to the name of a Secret that has the key %q, or secrets.%s.value" . (index $.Values.secrets .).key .) -}}
{{- end -}}
{{- end -}}
{{- toJson $out -}}
{{- end -}}

{{- /* The Secret whose values.yaml is merged under the tenants' values; empty: none. */ -}}
{{- define "kubebyon.valuesSecret" -}}
{{- if and .Values.vcluster.values .Values.vcluster.existingValuesSecret -}}
{{- fail "set vcluster.values or vcluster.existingValuesSecret, not both" -}}
{{- end -}}
{{- if .Values.vcluster.values -}}{{ include "kubebyon.fullname" . }}-vcluster
{{- else -}}{{ .Values.vcluster.existingValuesSecret }}
{{- end -}}
{{- end -}}

{{- define "kubebyon.config" -}}
{{- $c := .Values.config -}}
{{- $out := dict
  "KUBEBYON_LOG_LEVEL" $c.logLevel
  "KUBEBYON_LOG_FORMAT" $c.logFormat
  "KUBEBYON_PUBLIC_BASE_URL" $c.publicBaseUrl
  "KUBEBYON_JOIN_BASE_URL" $c.joinBaseUrl
  "KUBEBYON_CORS_ALLOWED_ORIGINS" (join "," $c.corsAllowedOrigins)
  "KUBEBYON_TRUSTED_PROXY_CIDRS" (join "," $c.trustedProxyCidrs)
  "KUBEBYON_WORKER_CONCURRENCY" (toString $c.workerConcurrency)
  "KUBEBYON_JOB_LEASE_SECONDS" (toString $c.jobLeaseSeconds)
  "KUBEBYON_JOB_MAX_ATTEMPTS" (toString $c.jobMaxAttempts)
  "KUBEBYON_ADMIN_EMAIL" .Values.adminEmail
  "KUBEBYON_VCLUSTER_CHART" .Values.vcluster.chart
  "KUBEBYON_VCLUSTER_CHART_REPO" .Values.vcluster.chartRepo
  "KUBEBYON_VCLUSTER_CHART_VERSION" .Values.vcluster.chartVersion
  "KUBEBYON_VCLUSTER_LICENCE_SECRET" .Values.vcluster.licenceSecret
  "KUBEBYON_KUBERNETES_VERSIONS" (join "," .Values.vcluster.kubernetesVersions)
  "KUBEBYON_INSTALLATION" .Values.installation
  "KUBEBYON_PUBLIC_HOST" .Values.hostCluster.publicHost
  "OTEL_EXPORTER_OTLP_ENDPOINT" $c.otlpEndpoint
-}}
{{- if .Values.vcluster.sharedNodes }}{{ $_ := set $out "KUBEBYON_VCLUSTER_SHARED_NODES" "true" }}{{ end -}}
{{- if include "kubebyon.valuesSecret" . }}{{ $_ := set $out "KUBEBYON_VCLUSTER_VALUES_FILE" "/etc/kubebyon/vcluster-values.yaml" }}{{ end -}}
{{- if .Values.hostCluster.existingKubeconfigSecret }}{{ $_ := set $out "KUBEBYON_KUBECONFIG_PATH" "/run/secrets/host-cluster/kubeconfig" }}{{ end -}}
{{- range $name, $value := mergeOverwrite $out $c.extra }}
{{- if ne (toString $value) "" }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* Files that the programs read, changed: new pods. */ -}}
{{- define "kubebyon.checksums" -}}
checksum/config: {{ include (print $.Template.BasePath "/configmap.yaml") . | sha256sum }}
checksum/secret: {{ include (print $.Template.BasePath "/secret.yaml") . | sha256sum }}
{{- end -}}

{{- define "kubebyon.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
privileged: false
capabilities: {drop: [ALL]}
{{- end -}}

{{- /* (list . "server"): the pod of a component. */ -}}
{{- define "kubebyon.pod" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}
{{- $values := index $root.Values $component -}}
{{- $secrets := include "kubebyon.secrets" $root | fromJson -}}
{{- $outside := $root.Values.hostCluster.existingKubeconfigSecret -}}
{{- $tenantValues := include "kubebyon.valuesSecret" $root -}}
metadata:
  labels:
    {{- include "kubebyon.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ $component }}
    {{- with $values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  annotations:
    {{- include "kubebyon.checksums" $root | nindent 4 }}
    {{- with $values.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  serviceAccountName: {{ include "kubebyon.serviceAccount" . }}
  # Only the main container gets a token, and one that expires.
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext: {{- toYaml $root.Values.podSecurityContext | nindent 4 }}
  # Five seconds until nobody sends requests here, 30 for those in flight, and a
  # minute to give jobs and leases back.
  terminationGracePeriodSeconds: 100
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $values.topologySpread }}
  topologySpreadConstraints:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      matchLabelKeys: [pod-template-hash]
      labelSelector:
        matchLabels:
          {{- include "kubebyon.selector" $root | nindent 10 }}
          app.kubernetes.io/component: {{ $component }}
    {{- end }}
  {{- end }}
  initContainers:
    - name: migrate
      image: {{ include "kubebyon.image" (list $root "server") }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      # It waits for a database that is away, and says so in its log.
      args: [migrate, --start-timeout-seconds=0]
      env:
        - {name: KUBEBYON_DATABASE_URL_FILE, value: /run/secrets/kubebyon/database-url}
        - {name: KUBEBYON_LOG_LEVEL, value: {{ $root.Values.config.logLevel }}}
        - {name: KUBEBYON_LOG_FORMAT, value: {{ $root.Values.config.logFormat }}}
      resources: {{- toYaml $root.Values.migration.resources | nindent 8 }}
      securityContext: {{- include "kubebyon.containerSecurity" $root | nindent 8 }}
      volumeMounts:
        - {name: secrets, mountPath: /run/secrets/kubebyon, readOnly: true}
        - {name: scratch, mountPath: /tmp, subPath: tmp}
  containers:
    - name: {{ $component }}
      image: {{ include "kubebyon.image" . }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      {{- if eq $component "server" }}
      args: [serve]
      {{- end }}
      envFrom:
        - configMapRef: {name: {{ include "kubebyon.fullname" $root }}}
      env:
        {{- if eq $component "server" }}
        - {name: KUBEBYON_HTTP_ADDR, value: ":8080"}
        - {name: KUBEBYON_SHUTDOWN_DELAY_SECONDS, value: "5"}
        {{- else }}
        - {name: KUBEBYON_HEALTH_ADDR, value: ":8080"}
        {{- end }}
        {{- if $root.Values.metrics.enabled }}
        - {name: KUBEBYON_METRICS_ADDR, value: ":9090"}
        {{- end }}
        {{- range $file, $from := $secrets }}
        {{- if not (and (eq $component "worker") (eq $file "admin-password")) }}
        {{- /* Without workers there is nobody to send messages to. */}}
        {{- if or $root.Values.worker.enabled (ne $file "amqp-url") }}
        - {name: KUBEBYON_{{ $file | snakecase | upper }}_FILE, value: /run/secrets/kubebyon/{{ $file }}}
        {{- end }}
        {{- end }}
        {{- end }}
        # Charts and what Helm keeps of repositories; the root is read-only.
        - {name: HOME, value: /var/cache/kubebyon}
        - {name: XDG_CACHE_HOME, value: /var/cache/kubebyon}
        - {name: XDG_CONFIG_HOME, value: /var/cache/kubebyon/config}
        - {name: XDG_DATA_HOME, value: /var/cache/kubebyon/data}
        - name: GOMEMLIMIT
          valueFrom: {resourceFieldRef: {resource: limits.memory, containerName: {{ $component }}}}
      ports:
        - {name: http, containerPort: 8080}
        {{- if $root.Values.metrics.enabled }}
        - {name: metrics, containerPort: 9090}
        {{- end }}
      # A process that waits for its database or broker answers, and is not ready.
      startupProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 2
        failureThreshold: 30
      livenessProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 2
      resources: {{- toYaml $values.resources | nindent 8 }}
      securityContext: {{- include "kubebyon.containerSecurity" $root | nindent 8 }}
      volumeMounts:
        - {name: secrets, mountPath: /run/secrets/kubebyon, readOnly: true}
        - {name: scratch, mountPath: /tmp, subPath: tmp}
        - {name: scratch, mountPath: /var/cache/kubebyon, subPath: cache}
        {{- if $tenantValues }}
        - {name: vcluster-values, mountPath: /etc/kubebyon, readOnly: true}
        {{- end }}
        {{- if $outside }}
        - {name: host-cluster, mountPath: /run/secrets/host-cluster, readOnly: true}
        {{- else }}
        - {name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
        {{- end }}
        {{- with $values.extraVolumeMounts }}{{ toYaml . | nindent 8 }}{{ end }}
  volumes:
    - name: secrets
      projected:
        defaultMode: 0440
        sources:
          {{- range $file, $from := $secrets }}
          {{- if not (and (eq $component "worker") (eq $file "admin-password")) }}
          - secret:
              name: {{ $from.secret }}
              items: [{key: {{ $from.key }}, path: {{ $file }}}]
          {{- end }}
          {{- end }}
    - name: scratch
      emptyDir: {sizeLimit: 1Gi}
    {{- with $tenantValues }}
    - name: vcluster-values
      secret:
        secretName: {{ . }}
        defaultMode: 0440
        items: [{key: values.yaml, path: vcluster-values.yaml}]
    {{- end }}
    {{- if $outside }}
    - name: host-cluster
      secret:
        secretName: {{ $outside }}
        defaultMode: 0440
        items: [{key: {{ $root.Values.hostCluster.key }}, path: kubeconfig}]
    {{- else }}
    - name: token
      projected:
        defaultMode: 0440
        sources:
          - serviceAccountToken: {path: token, expirationSeconds: 3607}
          - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
          - downwardAPI: {items: [{path: namespace, fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}}]}
    {{- end }}
    {{- with $values.extraVolumes }}{{ toYaml . | nindent 4 }}{{ end }}
{{- end -}}

{{- /* (list . "server") */ -}}
{{- define "kubebyon.deployment" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}
{{- $values := index $root.Values $component -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "kubebyon.fullname" $root }}-{{ $component }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "kubebyon.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ $component }}
spec:
  {{- if not $values.autoscaling.enabled }}
  replicas: {{ $values.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  # A schema that cannot be brought up to date stops the roll-out; the old pods
  # go on.
  progressDeadlineSeconds: 1800
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  selector:
    matchLabels:
      {{- include "kubebyon.selector" $root | nindent 6 }}
      app.kubernetes.io/component: {{ $component }}
  template: {{- include "kubebyon.pod" . | nindent 4 }}
{{- end -}}

{{- /* (list . "server") */ -}}
{{- define "kubebyon.availability" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}
{{- $values := index $root.Values $component -}}
{{- $name := printf "%s-%s" (include "kubebyon.fullname" $root) $component -}}
{{- if $values.podDisruptionBudget.enabled }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "kubebyon.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ $component }}
spec:
  # Never a minimum that a single pod could not fall below: it would block every
  # drain of its node.
  maxUnavailable: {{ $values.podDisruptionBudget.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "kubebyon.selector" $root | nindent 6 }}
      app.kubernetes.io/component: {{ $component }}
{{- end }}
{{- with $values.autoscaling }}
{{- if .enabled }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "kubebyon.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ $component }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ $name }}}
  minReplicas: {{ .minReplicas }}
  maxReplicas: {{ .maxReplicas }}
  metrics:
    - type: Resource
      resource: {name: cpu, target: {type: Utilization, averageUtilization: {{ .targetCPU }}}}
{{- end }}
{{- end }}
{{- end -}}

{{- /* (list . "object"), CEL: whether a namespace has the labels of those that this
installation of KubeBYON makes. */ -}}
{{- define "kubebyon.isOurs" -}}
{{- $labels := printf "%s.?metadata.?labels" (index . 1) -}}
{{ printf "%s[?'app.kubernetes.io/managed-by'].orValue('') == 'kubebyon' && %s[?'kubebyon.io/installation'].orValue('') == '%s'" $labels $labels (index . 0).Values.installation }}
{{- end -}}
