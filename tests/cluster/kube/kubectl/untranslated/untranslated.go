// Package untranslated lets kubectl speak English without its catalogue of translations. kubectl packs and reads the
// catalogue before anything else, which takes a third of its start. Go initializes the packages that are ready in the
// order of their paths, so this one, in flexvol.test, comes before those of k8s.io.
package untranslated

import "k8s.io/kubectl/pkg/util/i18n"

func init() {
	if err := i18n.SetLoadTranslationsFunc(func() error { return nil }); err != nil {
		panic(err)
	}
}
