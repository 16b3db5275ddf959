{{- define "amostra.name" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "amostra.selector" -}}
app.kubernetes.io/name: amostra
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "amostra.labels" -}}
{{ include "amostra.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "amostra.image" -}}
{{- $default := ternary (printf "%s-gpu" .Chart.AppVersion) .Chart.AppVersion .Values.gpu.enabled -}}
{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default $default) }}
{{- end }}
