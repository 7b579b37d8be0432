// Package untranslated lets kubectl speak English without its catalogue of translations. kubectl packs and parses the
// catalogue while its packages are initialized, which takes more than half of its start. Of the packages whose imports
// are initialized, Go initializes the one with the first path (language specification, since Go 1.21). This package
// imports i18n alone, so it comes before the packages of k8s.io that translate. If one of them came first,
// SetLoadTranslationsFunc would fail.
package untranslated

import "k8s.io/kubectl/pkg/util/i18n"

func init() {
	if err := i18n.SetLoadTranslationsFunc(func() error { return nil }); err != nil {
		panic(err)
	}
}
