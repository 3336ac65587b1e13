{{- define "slotwatch.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* Room is left for "-producer" and for the ordinal and hashes that Kubernetes appends. */}}
{{- define "slotwatch.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "slotwatch.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "slotwatch.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Takes a dict of root and component. */}}
{{- define "slotwatch.selector" -}}
app.kubernetes.io/name: {{ include "slotwatch.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "slotwatch.labels" -}}
{{ include "slotwatch.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: slotwatch
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* What holds of Kafka for a component: what is common, and what differs for it. */}}
{{- define "slotwatch.kafka" -}}
{{- toYaml (mergeOverwrite (deepCopy .root.Values.kafka) (deepCopy (index .root.Values .component).kafka)) -}}
{{- end -}}

{{/* The section [kafka], with the paths at which certificates are mounted. */}}
{{- define "slotwatch.kafkaSection" -}}
{{- $kafka := include "slotwatch.kafka" . | fromYaml -}}
{{- $section := $kafka.config -}}
{{- if not $section.brokers -}}
{{- fail "kafka.config.brokers is missing: where the brokers are, as host:port,host:port" -}}
{{- end -}}
{{- if $kafka.tls.secretName -}}
{{- range $file, $key := dict "ca_file" $kafka.tls.ca "certificate_file" $kafka.tls.certificate "key_file" $kafka.tls.key -}}
{{- if $key -}}
{{- $section = set $section $file (printf "/run/slotwatch/kafka/%s" $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $section -}}
{{- end -}}

{{/* The configuration files. What the chart itself decides wins. */}}
{{- define "slotwatch.producerConfig" -}}
{{- $producer := .Values.producer -}}
{{- $targets := "/etc/slotwatch-targets/targets.yaml" -}}
{{- if $producer.targetsSecret.name -}}
{{- if $producer.targets }}{{ fail "producer.targets and producer.targetsSecret are both set; only one of them can be" }}{{ end -}}
{{- $targets = printf "/etc/slotwatch-targets/%s" $producer.targetsSecret.key -}}
{{- else if not $producer.targets -}}
{{- fail "producer.targets is empty: what shall be checked? (or name a Secret in producer.targetsSecret)" -}}
{{- end -}}
{{- if and (gt (int $producer.replicas) 1) (dig "replicas" "instance" "" $producer.config) -}}
{{- fail "producer.config.replicas.instance would be the same for all replicas; give each its pod's name in producer.extraEnv: { name: REPLICAS_INSTANCE, valueFrom: { fieldRef: { fieldPath: metadata.name } } }" -}}
{{- end -}}
{{- $own := dict
    "kafka" (include "slotwatch.kafkaSection" (dict "root" . "component" "producer") | fromYaml)
    "schedule" (dict "targets_file" $targets)
    "replicas" (dict "enabled" (gt (int $producer.replicas) 1))
    "spool" (dict "file" "/var/lib/slotwatch/spool.sqlite")
    "admin" (dict "listen" "0.0.0.0:9465")
    "stop" (dict "grace" (printf "%ds" (int .Values.stopGraceSeconds))) -}}
{{- toYaml (mergeOverwrite (deepCopy $producer.config) $own) -}}
{{- end -}}

{{- define "slotwatch.consumerConfig" -}}
{{- $postgres := deepCopy .Values.postgres.config -}}
{{- if and $postgres.host .Values.postgres.url.secretName -}}
{{- fail "postgres.config.host and postgres.url are both set; only one of them can be" -}}
{{- else if not (or $postgres.host .Values.postgres.url.secretName) -}}
{{- fail "postgres.config.host is missing: where Postgres is (or name a Secret in postgres.url)" -}}
{{- end -}}
{{- if .Values.postgres.ca.secretName -}}
{{- $postgres = set $postgres "root_certificate" (printf "/run/slotwatch/postgres-ca/%s" .Values.postgres.ca.key) -}}
{{- end -}}
{{- $own := dict
    "kafka" (include "slotwatch.kafkaSection" (dict "root" . "component" "consumer") | fromYaml)
    "postgres" $postgres
    "admin" (dict "listen" "0.0.0.0:9466")
    "stop" (dict "grace" (printf "%ds" (int .Values.stopGraceSeconds))) -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.consumer.config) $own) -}}
{{- end -}}

{{/* What the pods of both have in common. */}}
{{- define "slotwatch.podSpec" -}}
{{- $component := index .root.Values .component -}}
serviceAccountName: {{ include "slotwatch.fullname" .root }}-{{ .component }}
automountServiceAccountToken: false
# The KAFKA_PORT of a service named kafka would be taken for a setting.
enableServiceLinks: false
terminationGracePeriodSeconds: {{ add .root.Values.stopGraceSeconds 5 }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $component.topologySpread }}
topologySpreadConstraints:
  {{- $selector := include "slotwatch.selector" . }}
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- $selector | nindent 8 }}
  {{- end }}
{{- end }}
{{- with $component.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $component.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $component.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $component.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A drained node may take one at a time. One that is not ready holds up nothing. */}}
{{- define "slotwatch.budget" -}}
{{- with (index .root.Values .component).podDisruptionBudget }}
{{- if .enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "slotwatch.fullname" $.root }}-{{ $.component }}
  labels:
    {{- include "slotwatch.labels" $ | nindent 4 }}
spec:
  maxUnavailable: {{ .maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "slotwatch.selector" $ | nindent 6 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What the containers of both have in common, from the image to the probes. */}}
{{- define "slotwatch.container" -}}
{{- $component := index .root.Values .component -}}
image: "{{ $component.image.repository }}:{{ default .root.Chart.AppVersion $component.image.tag }}"
imagePullPolicy: {{ $component.image.pullPolicy }}
ports:
  - name: admin
    containerPort: {{ .port }}
startupProbe:
  httpGet: { path: /livez, port: admin }
  periodSeconds: 2
  failureThreshold: 30
# Asks neither Kafka nor Postgres, so an outage of theirs restarts nothing.
livenessProbe:
  httpGet: { path: /livez, port: admin }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: { path: /readyz, port: admin }
  periodSeconds: 5
  timeoutSeconds: 5
resources:
  {{- toYaml $component.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* The configuration file is named in the environment, so that commands that are executed in the container find it, too. */}}
{{- define "slotwatch.configEnv" -}}
- name: CONFIG_FILE
  value: /etc/slotwatch/{{ .component }}.yaml
{{- end -}}

{{/* Variables, mounts and volumes of secrets. Mode 0440 is for the group of the pod, fsGroup. */}}
{{- define "slotwatch.kafkaEnv" -}}
{{- $kafka := include "slotwatch.kafka" . | fromYaml -}}
{{- if $kafka.password.secretName }}
- name: KAFKA_PASSWORD_FILE
  value: /run/slotwatch/kafka-password/{{ $kafka.password.key }}
{{- end }}
{{- end -}}

{{- define "slotwatch.postgresEnv" -}}
{{- with .Values.postgres.password }}
{{- if .secretName }}
- name: POSTGRES_PASSWORD_FILE
  value: /run/slotwatch/postgres-password/{{ .key }}
{{- end }}
{{- end }}
{{- with .Values.postgres.url }}
{{- if .secretName }}
- name: POSTGRES_URL_FILE
  value: /run/slotwatch/postgres-url/{{ .key }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "slotwatch.kafkaMounts" -}}
{{- $kafka := include "slotwatch.kafka" . | fromYaml -}}
{{- if $kafka.tls.secretName }}
- name: kafka
  mountPath: /run/slotwatch/kafka
  readOnly: true
{{- end }}
{{- if $kafka.password.secretName }}
- name: kafka-password
  mountPath: /run/slotwatch/kafka-password
  readOnly: true
{{- end }}
{{- end -}}

{{- define "slotwatch.kafkaVolumes" -}}
{{- $kafka := include "slotwatch.kafka" . | fromYaml -}}
{{- if $kafka.tls.secretName }}
- name: kafka
  secret:
    secretName: {{ $kafka.tls.secretName }}
    defaultMode: 0440
{{- end }}
{{- if $kafka.password.secretName }}
- name: kafka-password
  secret:
    secretName: {{ $kafka.password.secretName }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{/* Ports of a network policy, each once. */}}
{{- define "slotwatch.ports" -}}
{{- $ports := list -}}
{{- range . -}}
{{- $ports = append $ports (int .) -}}
{{- end -}}
{{- range uniq $ports }}
- { port: {{ . }}, protocol: TCP }
{{- end }}
{{- end -}}
