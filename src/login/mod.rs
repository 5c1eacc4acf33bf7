
pub mod throttle;
