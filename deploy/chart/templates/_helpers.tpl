{{/* The image of every container. */}}
{{- define "flexvol.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The directory in which the kubelets look for drivers. The names are those of deploy/overlays. */}}
{{- define "flexvol.driverDirectory" -}}
{{- $known := dict
  "default" "/usr/libexec/kubernetes/kubelet-plugins/volume/exec"
  "aks" "/etc/kubernetes/volumeplugins"
  "flatcar" "/var/kubernetes/kubelet-plugins/volume/exec"
  "gke" "/home/kubernetes/flexvolume"
  "k0s" "/usr/libexec/k0s/kubelet-plugins/volume/exec"
  "openshift" "/etc/kubernetes/kubelet-plugins/volume/exec"
  "rke2" "/var/lib/kubelet/volumeplugins"
-}}
{{ .Values.driverDirectory.path | default (get $known .Values.driverDirectory.distribution) }}
{{- end }}

{{/* "true" if the chart has the admission policies, and nothing otherwise. Kubernetes has their API from 1.30 on. */}}
{{- define "flexvol.hasPolicies" -}}
{{- $known := semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version -}}
{{- if or (eq .Values.policies.install "always") (and (eq .Values.policies.install "auto") $known) -}}
true
{{- end }}
{{- end }}

{{/* What a container has beside its name: its image, and when the kubelet gets it. */}}
{{- define "flexvol.containerImage" -}}
image: {{ include "flexvol.image" . | quote }}
{{- with .Values.image.pullPolicy }}
imagePullPolicy: {{ . | quote }}
{{- end }}
{{- end }}

{{/* The Secrets of the registry, in a pod's spec. */}}
{{- define "flexvol.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* Which nodes have flexvol, in a pod's spec; deploy/node.yaml has the reasons. */}}
{{- define "flexvol.nodesWithFlexvol" -}}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        - matchExpressions:
            - {key: flexvol/exclude, operator: DoesNotExist}
            - {key: type, operator: NotIn, values: [virtual-kubelet]}
            - {key: eks.amazonaws.com/compute-type, operator: NotIn, values: [fargate]}
{{- end }}

{{/* What makes each node's provisioner known to itself, in a container's spec. */}}
{{- define "flexvol.nodeEnvironment" -}}
env:
  - name: NODE_NAME
    valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
  - name: POD_NAME
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
  - name: POD_UID
    valueFrom: {fieldRef: {fieldPath: metadata.uid}}
{{- end }}

{{/* How kubelet sees that a provisioner works, in a container's spec. */}}
{{- define "flexvol.probes" -}}
ports: [{name: health, containerPort: 9808}]
livenessProbe: {httpGet: {path: /healthz, port: health}, periodSeconds: 20, failureThreshold: 6}
# kubelet writes a Warning event for each look that fails, and the program takes a second or two to begin.
readinessProbe: {httpGet: {path: /readyz, port: health}, initialDelaySeconds: 3, periodSeconds: 2}
{{- end }}

{{/* A container's rights: none, but for the capabilities that are named: `include "flexvol.confined" (list "SYS_CHROOT")`. */}}
{{- define "flexvol.confined" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  {{- if . }}
  capabilities: {drop: [ALL], add: {{ toJson . }}}
  {{- else }}
  capabilities: {drop: [ALL]}
  {{- end }}
{{- end }}

{{/* The provisioners of all drivers that a pod serves, sorted, as JSON: `include "flexvol.provisioners" (list DRIVER ARGUMENTS)`,
of the driver VENDOR/NAME and those of the arguments --driver=VENDOR/NAME. */}}
{{- define "flexvol.provisioners" -}}
{{- $drivers := list (index . 0) -}}
{{- range index . 1 -}}
{{- if hasPrefix "--driver=" . -}}
{{- $drivers = append $drivers (trimPrefix "--driver=" .) -}}
{{- end -}}
{{- end -}}
{{- $provisioners := list -}}
{{- range $drivers -}}
{{- $parts := splitList "/" . -}}
{{- $provisioners = append $provisioners (printf "%s.%s" (last $parts) (first $parts)) -}}
{{- end -}}
{{- $provisioners | uniq | sortAlpha | toJson -}}
{{- end }}

{{/* "true" if a provisioner runs in shared mode, and nothing otherwise: the policies are needed then. */}}
{{- define "flexvol.hasShared" -}}
{{- $has := .Values.shared.enabled -}}
{{- range .Values.drivers }}
{{- if eq .mode "shared" }}
{{- $has = true -}}
{{- end }}
{{- end }}
{{- if $has -}}
true
{{- end }}
{{- end }}

{{/* The annotations of a storage class of the values, as YAML. */}}
{{- define "flexvol.classAnnotations" -}}
{{- $annotations := .annotations | default dict -}}
{{- if .default -}}
{{- $annotations = merge (dict "storageclass.kubernetes.io/is-default-class" "true") $annotations -}}
{{- end -}}
{{- toYaml $annotations -}}
{{- end }}

{{/* A storage class of the values: `include "flexvol.storageClass" (list CLASS PROVISIONER)`, with the provisioner of a class
that names none. */}}
{{- define "flexvol.storageClass" -}}
{{- $provisioner := index . 1 -}}
{{- with index . 0 -}}
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: {{ .name | quote }}
  {{- with .labels }}
  labels:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with fromYaml (include "flexvol.classAnnotations" .) }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
provisioner: {{ .provisioner | default $provisioner | quote }}
# By default the volume is made on the node that the scheduler chooses for the first pod.
volumeBindingMode: {{ .volumeBindingMode | default "WaitForFirstConsumer" | quote }}
allowVolumeExpansion: {{ dig "allowVolumeExpansion" true . }}
reclaimPolicy: {{ .reclaimPolicy | default "Delete" | quote }}
{{- with .parameters }}
parameters:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .mountOptions }}
mountOptions:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .allowedTopologies }}
allowedTopologies:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* The object that makes the scheduler look at the room that each node has for a provisioner, which publishes it; nothing
here is CSI. */}}
{{- define "flexvol.csiDriver" -}}
apiVersion: storage.k8s.io/v1
kind: CSIDriver
metadata:
  name: {{ . | quote }}
spec:
  attachRequired: false
  storageCapacity: true
  volumeLifecycleModes: [Persistent]
{{- end }}

{{/* The text of a file of files/, such as policy.yaml: `include "flexvol.file" (list . "policy.yaml")`. Helm has an empty
text for a file that is not there, and a checkout without links has the link's target as its only line. The chart then is
refused, because a release without its policies would look like one with them. */}}
{{- define "flexvol.file" -}}
{{- $name := index . 1 -}}
{{- $text := (index . 0).Files.Get (printf "files/%s" $name) -}}
{{- if not (contains "\n" (trim $text)) -}}
{{- fail (printf "This chart is not whole: files/%s holds no text. Take the packaged chart, or a checkout with symbolic links (git config core.symlinks true)." $name) -}}
{{- end -}}
{{ $text }}
{{- end }}

{{/* Refuses a list in which two entries have the same text under one key, as their name: Kubernetes would refuse such
objects after others are changed already. `include "flexvol.once" (list "pools" "name" .Values.pools)` */}}
{{- define "flexvol.once" -}}
{{- $value := index . 0 -}}
{{- $key := index . 1 -}}
{{- $seen := dict -}}
{{- range index . 2 -}}
{{- $text := get . $key -}}
{{- if hasKey $seen $text -}}
{{- fail (printf "The value %s has the %s %s twice. Each entry needs one of its own." $value $key $text) -}}
{{- end -}}
{{- $_ := set $seen $text true -}}
{{- end -}}
{{- end }}
