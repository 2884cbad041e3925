package httpmsg

// Piece is content that lies in memory of a codec, which gets it back with Free.
type Piece interface {
	// Bytes are valid, and must not be changed, until Free.
	Bytes() []byte
	Free()
}

// PieceReader hands content over as it lies, for who would copy it only to pass it on.
type PieceReader interface {
	// ReadPiece waits for content as Body.Read does. The piece may be nil where there
	// is an error; else it is the caller's to free.
	ReadPiece() (Piece, error)
}

// Piecewise is a Body whose content can be had by pieces, too.
type Piecewise interface {
	// Pieces returns what reads them, or nil where there is none at present. Pieces
	// and Read take turns as the caller likes.
	Pieces() PieceReader
}

// Pieces returns what reads body by pieces, or nil.
func Pieces(body Body) PieceReader {
	if p, ok := body.(Piecewise); ok {
		return p.Pieces()
	}
	return nil
}
