//! MLflow's account routes, answered by the gateway (`users/current` and those beside it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    CurrentUser,
    CurrentPermissions,
    CurrentRoles,
}
