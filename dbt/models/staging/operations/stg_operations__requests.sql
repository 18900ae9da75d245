with

reservations as (
    select * from {{ source('operations', 'requests') }}
),

renamed as (
    select
        reservation_id,

        source,
        state,

        requests as request_count,

        recorded_at,
    from reservations
),

final as (
    select * from renamed
)

select * from final
