//! [`crate::export_plugin`].

/// Makes a type the plugin of this crate: exports the functions that the host calls.
///
/// - `export_plugin!(MyPlugin)` exports a [`Planner`](crate::Planner): no row enters the plugin.
/// - `export_plugin!(MyPlugin: ObjectMapper)` also has a say in views, triggers, routines and events, an
///   [`ObjectMapper`](crate::ObjectMapper).
/// - `export_plugin!(MyPlugin: Transformer)` adds row code, a [`Transformer`](crate::Transformer).
/// - `export_plugin!(MyPlugin: Transformer + ConflictResolver + DdlMapper)` exports everything
///   about rows.
///
/// These are the worlds `planner`, `object-planner`, `transformer` and `plugin` of the contract. To be used once, at
/// the root of a crate of type `cdylib`. Compiled for anything but WebAssembly it checks types and
/// exports nothing.
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ident) => {
        $crate::__export_planner!($plugin, PLANNER, {});
    };
    ($plugin:ident: ObjectMapper) => {
        $crate::__export_planner!($plugin, OBJECT_PLANNER, {
            use $crate::bindings::exports::migration::plugin::objects;
            impl objects::Guest for Exports {
                fn map_object(
                    object: $crate::DatabaseObject,
                    source: $crate::Endpoint,
                    target: $crate::Endpoint,
                ) -> ::core::result::Result<$crate::ObjectAction, $crate::PluginError> {
                    INSTANCE.with(|instance| instance.map_object(&object, &source, &target))
                }
            }
            #[cfg(target_arch = "wasm32")]
            $crate::bindings::exports::migration::plugin::objects::__export_migration_plugin_objects_0_1_0_cabi!(
                Exports with_types_in $crate::bindings::exports::migration::plugin::objects
            );
        });
    };
    ($plugin:ident: Transformer) => {
        $crate::__export_transformer!($plugin, TRANSFORMER, {});
    };
    ($plugin:ident: Transformer + ConflictResolver + DdlMapper) => {
        $crate::__export_transformer!($plugin, PLUGIN, {
            use $crate::bindings::exports::migration::plugin::{conflicts, ddl};
            impl conflicts::Guest for Exports {
                fn resolve_rows(
                    conflicts: ::std::vec::Vec<$crate::RowConflict>,
                ) -> ::core::result::Result<::std::vec::Vec<$crate::RowResolution>, $crate::PluginError> {
                    INSTANCE.with(|instance| instance.resolve_rows(&conflicts))
                }
            }
            impl ddl::Guest for Exports {
                fn map_ddl(
                    event: $crate::DdlEvent,
                    target: $crate::Endpoint,
                ) -> ::core::result::Result<$crate::DdlAction, $crate::PluginError> {
                    INSTANCE.with(|instance| instance.map_ddl(&event, &target))
                }
            }
            #[cfg(target_arch = "wasm32")]
            $crate::bindings::exports::migration::plugin::conflicts::__export_migration_plugin_conflicts_0_1_0_cabi!(
                Exports with_types_in $crate::bindings::exports::migration::plugin::conflicts
            );
            #[cfg(target_arch = "wasm32")]
            $crate::bindings::exports::migration::plugin::ddl::__export_migration_plugin_ddl_0_1_0_cabi!(
                Exports with_types_in $crate::bindings::exports::migration::plugin::ddl
            );
        });
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_planner {
    ($plugin:ident, $world:ident, {$($more:tt)*}) => {
        $crate::__export!($plugin, $world, {
            fn open_table(
                _: $crate::TableId,
                _: $crate::TableSchema,
                _: $crate::TablePlan,
            ) -> ::core::result::Result<(), $crate::PluginError> {
                Ok(())
            }
            fn close_table(_: $crate::TableId) {}
        } {
            $($more)*
        });
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_transformer {
    ($plugin:ident, $world:ident, {$($more:tt)*}) => {
        $crate::__export!($plugin, $world, {
            fn open_table(
                table: $crate::TableId,
                schema: $crate::TableSchema,
                plan: $crate::TablePlan,
            ) -> ::core::result::Result<(), $crate::PluginError> {
                INSTANCE.with(|instance| TABLES.with(|tables| tables.open(instance, table, schema, plan)))
            }
            fn close_table(table: $crate::TableId) {
                TABLES.with(|tables| tables.close(table));
            }
        } {
            ::std::thread_local! {
                static TABLES: $crate::instance::OpenTables<$plugin> =
                    const { $crate::instance::OpenTables::new() };
            }
            use $crate::bindings::exports::migration::plugin::transform;
            impl transform::Guest for Exports {
                fn filter(
                    input: transform::Batch,
                ) -> ::core::result::Result<::std::vec::Vec<u8>, $crate::PluginError> {
                    INSTANCE.with(|instance| TABLES.with(|tables| tables.filter(instance, &input)))
                }
                fn transform_batch(
                    input: transform::Batch,
                ) -> ::core::result::Result<transform::BatchOutput, $crate::PluginError> {
                    INSTANCE.with(|instance| TABLES.with(|tables| tables.transform(instance, &input)))
                }
            }
            #[cfg(target_arch = "wasm32")]
            $crate::bindings::exports::migration::plugin::transform::__export_migration_plugin_transform_0_1_0_cabi!(
                Exports with_types_in $crate::bindings::exports::migration::plugin::transform
            );
            $($more)*
        });
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($plugin:ident, $world:ident, {$($lifecycle:tt)*} $({$($more:tt)*})?) => {
        const _: () = {
            struct Exports;
            ::std::thread_local! {
                static INSTANCE: $crate::instance::Instance<$plugin> =
                    const { $crate::instance::Instance::new() };
            }
            impl $crate::bindings::exports::migration::plugin::lifecycle::Guest for Exports {
                fn describe() -> $crate::Description {
                    INSTANCE.with(|instance| instance.describe())
                }
                fn configure(
                    context: $crate::RunContext,
                    config: ::std::string::String,
                ) -> ::core::result::Result<(), $crate::PluginError> {
                    INSTANCE.with(|instance| instance.configure(context, &config))
                }
                $($lifecycle)*
            }
            impl $crate::bindings::exports::migration::plugin::planning::Guest for Exports {
                fn plan_table(
                    schema: $crate::TableSchema,
                    source: $crate::Endpoint,
                    target: $crate::Endpoint,
                ) -> ::core::result::Result<$crate::TablePlan, $crate::PluginError> {
                    INSTANCE.with(|instance| instance.plan_table(&schema, &source, &target))
                }
            }
            #[cfg(target_arch = "wasm32")]
            $crate::bindings::exports::migration::plugin::lifecycle::__export_migration_plugin_lifecycle_0_1_0_cabi!(
                Exports with_types_in $crate::bindings::exports::migration::plugin::lifecycle
            );
            #[cfg(target_arch = "wasm32")]
            $crate::bindings::exports::migration::plugin::planning::__export_migration_plugin_planning_0_1_0_cabi!(
                Exports with_types_in $crate::bindings::exports::migration::plugin::planning
            );
            $crate::__world_section!($world);
            $($($more)*)?
            // Nothing else uses the plugin where nothing is exported.
            #[cfg(not(target_arch = "wasm32"))]
            let _ = Exports;
        };
    };
}

/// The section that tells `wit-component` which world the guest exports.
#[doc(hidden)]
#[macro_export]
macro_rules! __world_section {
    ($world:ident) => {
        #[cfg(target_arch = "wasm32")]
        #[unsafe(link_section = "component-type:migration:plugin:exports")]
        #[used]
        static SECTION: [u8; $crate::section::$world.len()] = *$crate::section::$world;
    };
}
