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
