{{/* The labels by which policies and monitors find the pods. */}}
{{- define "facegraph.podLabels" -}}
app.kubernetes.io/part-of: facegraph
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "facegraph.labels" -}}
{{ include "facegraph.podLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* The profile's Serve config file with the differences that values.yaml lists, or another file. */}}
{{- define "facegraph.serveConfig" -}}
{{- $profile := index .Values.profiles .Values.profile }}
{{- $differences := ternary dict $profile.deployments (ne .Values.serveConfig "") }}
{{- $serve := .Values.serveConfig | default (.Files.Get (printf "files/%s.yaml" .Values.profile)) | fromYaml }}
{{- with $serve.Error }}{{ fail (printf "serveConfig: %s" .) }}{{ end }}
{{- $_ := set $serve "http_options" (set ($serve.http_options | default dict) "host" "0.0.0.0") }}
{{- range $serve.applications }}
{{- if eq .import_path "graph.app:build_app" }}
{{- $args := .args | default dict }}
{{- $access := $args.access | default dict }}
{{- $_ := set . "args" (set $args "access" (set $access "keys_file" "/etc/facegraph/keys/keys.yaml")) }}
{{- if $.Values.galleries.dsnSecret }}
{{- $_ := set $args "gallery" (set ($args.gallery | default dict) "enabled" true) }}
{{- if $differences.Gallery }}
{{- $_ := set . "deployments" (append .deployments (dict "name" "Gallery")) }}
{{- end }}
{{- end }}
{{- end }}
{{- range .deployments }}
{{- $_ := mergeOverwrite . (get $differences .name | default dict) }}
{{- end }}
{{- end }}
{{- toYaml $serve }}
{{- end }}

{{- define "facegraph.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default (printf "%s-%s" .Chart.AppVersion .Values.profile) }}
{{- end }}

{{- define "facegraph.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
{{- end }}

{{- define "facegraph.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Serve's settings again, as `controller_options` does not reach every process of a pod; and the
chart's own. The head reports even that the usage statistics are off: to nobody. */}}
{{- define "facegraph.environment" -}}
{{- $profile := index .Values.profiles .Values.profile }}
{{- $serve := include "facegraph.serveConfig" . | fromYaml }}
{{- $own := dict
      "RAY_SERVE_DEFAULT_HTTP_HOST" "0.0.0.0"
      "RAY_USAGE_STATS_ENABLED" "0"
      "RAY_USAGE_STATS_REPORT_URL" "http://127.0.0.1:1/"
      "FACEGRAPH_OPENVINO_CACHE" "/var/cache/facegraph" }}
{{- if $profile.modelsClaim }}
{{- $_ := set $own "FACEGRAPH_MODELS" "/models" }}
{{- end }}
{{- $switches := dig "runtime_env" "env_vars" dict ($serve.controller_options | default dict) }}
{{- mergeOverwrite $switches $own .Values.environment | toYaml }}
{{- end }}

{{/* The parts of a container that the head and the workers share. */}}
{{- define "facegraph.container" -}}
{{- $profile := index .Values.profiles .Values.profile }}
image: {{ include "facegraph.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext: {{- include "facegraph.containerSecurity" . | nindent 2 }}
env:
  {{- range $name, $value := include "facegraph.environment" . | fromYaml }}
  - {name: {{ $name }}, value: {{ $value | quote }}}
  {{- end }}
  {{- with .Values.galleries.dsnSecret }}
  - {name: FACEGRAPH_GALLERY_DSN, valueFrom: {secretKeyRef: {name: {{ . }}, key: dsn}}}
  {{- end }}
volumeMounts:
  - {name: keys, mountPath: /etc/facegraph/keys, readOnly: true}
  - {name: compiled, mountPath: /var/cache/facegraph}
  {{- if $profile.modelsClaim }}
  - {name: models, mountPath: /models, readOnly: true}
  {{- end }}
{{- end }}

{{/* The parts of a pod that the head and the workers share. */}}
{{- define "facegraph.pod" -}}
{{- $profile := index .Values.profiles .Values.profile }}
restartPolicy: Never # the autoscaler (v2) starts a new pod instead
securityContext: {{- include "facegraph.podSecurity" . | nindent 2 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - {name: keys, secret: {secretName: {{ .Values.keysSecret }}}}
  - {name: compiled, emptyDir: {sizeLimit: 4Gi}}
  {{- with $profile.modelsClaim }}
  - {name: models, persistentVolumeClaim: {claimName: {{ . }}, readOnly: true}}
  {{- end }}
{{- end }}

{{/* Asks the URLs of Ray's own health only: a graph that is down elsewhere must not end a pod. The
operator's own probe would take ten minutes. */}}
{{- define "facegraph.livenessProbe" -}}
{{- $checks := list }}
{{- range . }}
{{- $checks = append $checks (printf "wget --tries 1 -T 2 -q -O- %s | grep -q success" .) }}
{{- end -}}
exec:
  command: [bash, -c, {{ join " && " $checks | quote }}]
initialDelaySeconds: 30
periodSeconds: 5
timeoutSeconds: {{ len . | mul 2 | add 2 }}
failureThreshold: 12
{{- end }}

{{- define "facegraph.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
