//! Answers that list things, cut down to what may be seen, with full pages.
#[derive(Clone, Debug)]
pub struct Plan {}
