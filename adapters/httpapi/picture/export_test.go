package picture

// Occupy takes the seat until leave is called.
func (s *Studio) Occupy() (leave func()) {
	s.seat <- struct{}{}
	return func() { <-s.seat }
}
