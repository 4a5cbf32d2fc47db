{{- define "raytap.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "raytap.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "raytap.labels" -}}
{{ include "raytap.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "raytap.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "raytap.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/*
The memory limit for Go, as a list of environment variables: 80 % of the container's
limit in bytes, because the kernel counts more than Go does (the downward API has only
the whole limit). Empty if env has GOMEMLIMIT or no limit is set.
*/}}
{{- define "raytap.memory" -}}
{{- $limit := "" -}}
{{- with .Values.resources -}}{{- with .limits -}}{{- with .memory -}}
{{- $limit = toString . -}}
{{- end -}}{{- end -}}{{- end -}}
{{- range .Values.env -}}
{{- if eq .name "GOMEMLIMIT" -}}
{{- $limit = "" -}}
{{- end -}}
{{- end -}}
{{- with $limit -}}
{{- $units := dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 -}}
{{- $unit := regexFind "[a-zA-Z]*$" . -}}
{{- if hasKey $units $unit }}
- name: GOMEMLIMIT
  value: {{ mulf 0.8 (get $units $unit) (trimSuffix $unit . | float64) | int64 | quote }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* raytap's configuration: the value config, and what other values add to it, as YAML. */}}
{{- define "raytap.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if hasKey $config "sharding" -}}
{{- fail "config.sharding: set the value sharding instead, which also sets the number of pods" -}}
{{- end -}}
{{- $_ := set $config "sharding" (dict "generations" .Values.sharding.generations) -}}
{{- with .Values.discovery.kuberay -}}
{{- if .enabled -}}
{{- $rule := dict "auth" .auth -}}
{{- if .allNamespaces -}}
{{- if .namespaces -}}
{{- fail "discovery.kuberay.namespaces and allNamespaces are both set: keep one" -}}
{{- end -}}
{{- $_ := set $rule "namespaces" (list "*") -}}
{{- else if .namespaces -}}
{{- $_ := set $rule "namespaces" .namespaces -}}
{{- end -}}
{{- with .selector -}}{{- $_ := set $rule "selector" . -}}{{- end -}}
{{- with .clusterLabels -}}{{- $_ := set $rule "cluster_labels" . -}}{{- end -}}
{{- $_ := set $config "kubernetes" (mergeOverwrite (dict "rules" (list $rule)) (default dict $config.kubernetes)) -}}
{{- /* The default of the value config is for a release without discovery. */ -}}
{{- $default := list (dict "name" "default" "url" "http://raycluster-head-svc:8265") -}}
{{- if deepEqual $config.clusters $default -}}
{{- $_ := set $config "clusters" list -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* The number of pods: the largest number of shards, unless sharding.replicas is set. */}}
{{- define "raytap.replicas" -}}
{{- $largest := 0 -}}
{{- $last := 0 -}}
{{- range $i, $g := .Values.sharding.generations -}}
{{- $largest = max $largest (int $g.shards) -}}
{{- $at := printf "sharding.generations[%d].from" $i -}}
{{- if $i -}}
{{- $from := mustToDate "2006-01-02T15:04:05Z07:00" (required (print $at " is required: from when on this number of shards holds, such as 2026-12-01T12:00:00Z") $g.from) | unixEpoch | int64 -}}
{{- if le $from $last -}}
{{- fail (print $at " must be after that of the generation before it") -}}
{{- end -}}
{{- $last = $from -}}
{{- else if $g.from -}}
{{- fail (print $at " must not be set in the first generation, which holds for all clusters before the second") -}}
{{- end -}}
{{- end -}}
{{- $replicas := $largest -}}
{{- if not (kindIs "invalid" .Values.sharding.replicas) -}}
{{- $replicas = int .Values.sharding.replicas -}}
{{- if gt $replicas $largest -}}
{{- fail (printf "sharding.replicas is %d, but sharding.generations has at most %d shards: add a generation" $replicas $largest) -}}
{{- end -}}
{{- end -}}
{{- if gt (max $replicas $largest) 1 -}}
{{- if not .Values.persistence.enabled -}}
{{- fail "persistence.enabled must be true with more than one shard: each needs a volume of its own for its positions, and the lock on it keeps two pods with one number apart" -}}
{{- end -}}
{{- if .Values.persistence.existingClaim -}}
{{- fail "persistence.existingClaim must not be set with more than one shard: each needs a volume of its own" -}}
{{- end -}}
{{- end -}}
{{- $replicas -}}
{{- end -}}

{{/* The ports of the clusters, and of node agents, as a JSON list. */}}
{{- define "raytap.ports" -}}
{{- $ports := list -}}
{{- if .Values.discovery.kuberay.enabled -}}
{{- $ports = append $ports 8265 -}}
{{- end -}}
{{- range (include "raytap.config" . | fromYaml).clusters -}}
{{- $url := urlParse .url -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- if $port -}}
{{- $ports = append $ports (int $port) -}}
{{- else -}}
{{- $ports = append $ports (ternary 443 80 (eq $url.scheme "https")) -}}
{{- end -}}
{{- end -}}
{{- with int .Values.networkPolicy.nodeAgentPort -}}
{{- $ports = append $ports . -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}
