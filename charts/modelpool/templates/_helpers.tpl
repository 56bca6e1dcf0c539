{{/* Names begin with this. Service names bound it: 63 characters, no dots, "-operator" behind it. */}}
{{- define "modelpool.fullname" -}}
{{- $name := .Values.fullnameOverride | default (contains "modelpool" .Release.Name | ternary .Release.Name (printf "%s-modelpool" .Release.Name)) -}}
{{- $name | replace "." "-" | trunc 48 | trimSuffix "-" -}}
{{- end }}

{{- define "modelpool.operator" -}}
{{ include "modelpool.fullname" . }}-operator
{{- end }}

{{- define "modelpool.selftest" -}}
{{ include "modelpool.fullname" . }}-selftest
{{- end }}

{{/* The operator's Lease: it names it after its instance, which is the release and not what names are made of. */}}
{{- define "modelpool.lease" -}}
{{- if contains "." .Release.Name }}{{ fail (printf "the release's name %q must have no dots: the operator's Lease and what it writes are named after it" .Release.Name) }}{{ end -}}
{{ .Release.Name }}-operator
{{- end }}

{{- define "modelpool.selector" -}}
app.kubernetes.io/name: modelpool
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Helm adds app.kubernetes.io/managed-by itself, so that install.yaml can do without. */}}
{{- define "modelpool.labels" -}}
{{ include "modelpool.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: modelpool
{{- end }}

{{- define "modelpool.operator.labels" -}}
{{ include "modelpool.labels" . }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "modelpool.selftest.labels" -}}
{{ include "modelpool.labels" . }}
app.kubernetes.io/component: selftest
{{- end }}

{{/* "modelpool.image" (dict "root" . "of" .Values.image.operator) */}}
{{- define "modelpool.image" -}}
{{- $image := .root.Values.image -}}
{{- $name := .of.repository -}}
{{- if $image.registry }}{{ $name = printf "%s/%s" (trimSuffix "/" $image.registry) $name }}{{ end -}}
{{- if .of.digest -}}
{{ $name }}@{{ .of.digest }}
{{- else -}}
{{ $name }}:{{ .of.tag | default $image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* All four that PodSecurity "restricted" asks for stand on the container: a pod's own are easily forgotten. */}}
{{- define "modelpool.securityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* What the operator needs in a namespace that it watches; docs/install.md has the same table in words. */}}
{{- define "modelpool.operator.rules" -}}
- apiGroups: [modelpool.dev]
  resources: [providers, modelpools]
  verbs: [get, list, watch]
- apiGroups: [modelpool.dev]
  resources: [providers/status, modelpools/status]
  verbs: [patch]
# Which Secrets exist and have changed is read as metadata alone, and the values only of those that a Provider names.
# Rights cannot say either, so this is the right to read them all; watchNamespaces narrows it.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch]
# Server-side apply names what it creates, and a list by metadata.name counts as naming it: so these rights end at the
# two objects that are the operator's own.
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [modelpool-credentials]
  verbs: [create, patch]
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [modelpool-config]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}
