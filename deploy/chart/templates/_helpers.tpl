{{/* The image of every container. */}}
{{- define "flexvol.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
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
image: {{ include "flexvol.image" . }}
{{- with .Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- end }}

{{/* The Secrets of the registry, in a pod's spec. */}}
{{- define "flexvol.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}
