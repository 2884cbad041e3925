// Package house holds the rules of the house as tests: which package may import
// which, one package comment for each, sizes of files and functions, and names
// that say nothing. It has no code of its own.
package house
